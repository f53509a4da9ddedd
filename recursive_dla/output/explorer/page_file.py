"""The explorer's page, and the graph that is in one."""

from __future__ import annotations

import re
from pathlib import Path

from recursive_dla.errors import InputError
from recursive_dla.graphs.data import GraphData
from recursive_dla.output.files.graph_document import graph_document, graph_from_document
from recursive_dla.output.files.strict_json import parse_json
from recursive_dla.output.files.whole_files import read_text, write_text

# A page with more edges than this takes a browser longer to open than to look at.
MAX_PAGE_EDGES = 200_000

_DATA = re.compile(r'<script type="application/json" id="attribution-graph">([^<]*)</script>')


def page_text(graph: GraphData) -> str:
    """The page that explores ``graph``.

    Raises:
        InputError: The graph is too large for a page.
    """
    from recursive_dla.output.explorer import render_page

    if len(graph.edge_weight) > MAX_PAGE_EDGES:
        raise InputError(
            f"A page holds at most {MAX_PAGE_EDGES:,} edges, and the graph has {len(graph.edge_weight):,}."
            " Prune it first: graph.prune(max_edges=5000).save(...)."
        )
    return render_page(graph_document(graph))


def write_page(graph: GraphData, path: Path) -> None:
    write_text(path, page_text(graph))


def read_page(path: Path) -> GraphData:
    found = _DATA.search(read_text(path))
    if found is None:
        raise ValueError("it is not a page that this package wrote")
    return graph_from_document(parse_json(found[1]))
