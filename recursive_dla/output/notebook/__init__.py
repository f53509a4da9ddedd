"""What notebooks show of a graph, a breakdown, a tree and its paths: a few kilobytes of plain HTML, without scripts.

Each function gathers what is shown, and a template of its name lays it out.
"""

from __future__ import annotations

from recursive_dla.output.notebook.breakdown import breakdown_html
from recursive_dla.output.notebook.difference import difference_html
from recursive_dla.output.notebook.graph import graph_html
from recursive_dla.output.notebook.paths import paths_html
from recursive_dla.output.notebook.tree import tree_html

__all__ = ["breakdown_html", "difference_html", "graph_html", "paths_html", "tree_html"]
