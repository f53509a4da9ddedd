"""``recursive-dla convert``: a saved graph in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recursive_dla.commands.printing import print_lines


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A saved graph.", show_default=False)],
    out: Annotated[
        list[Path],
        typer.Argument(metavar="OUT...", help="Where to write it; the extension is the format.", show_default=False),
    ],
    max_edges: Annotated[
        int | None, typer.Option(min=1, help="Keep only so many of the strongest edges.", show_default=False)
    ] = None,
) -> None:
    """Write a saved graph in other formats.

    Read: .json, .json.gz, .html, .csv, .parquet, .graphml, .node-link.json. Written: those, and .gexf, .dot, .mmd,
    .svg, .png, .circuit.json.
    """
    from recursive_dla.graph import AttributionGraph
    from recursive_dla.output.saving import check_readable, check_writable

    check_readable(source)
    formats = [check_writable(path) for path in out]
    graph = AttributionGraph.load(source)
    if max_edges is not None and len(graph.edge_weight) > max_edges:
        graph = graph.prune(max_edges=max_edges)
    for path, chosen in zip(out, formats, strict=True):
        graph.save(path)
        for file in chosen.files(path):
            print_lines(f"Wrote {file}")
