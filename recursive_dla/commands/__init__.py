"""The commands of the command line, one module each; :mod:`recursive_dla.cli` puts them together."""
