"""The version of this package, which files and graphs carry."""

__version__ = "0.1.0"
