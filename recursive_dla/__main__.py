"""``python -m recursive_dla`` is ``recursive-dla``."""

from recursive_dla.cli import main

main()
