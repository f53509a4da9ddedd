"""The commands of the command line; :mod:`recursive_dla.cli` puts them together."""
