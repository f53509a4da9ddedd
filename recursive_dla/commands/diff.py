"""``recursive-dla diff``: what changes from one saved graph to another."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from recursive_dla.commands.printing import JsonOption, print_json


class AlignBy(str, Enum):
    """How nodes of two graphs are matched."""

    auto = "auto"
    position = "position"
    component = "component"


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A graph: FILE.json.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another of the same model.", show_default=False)],
    align: Annotated[
        AlignBy,
        typer.Option(
            help="Match nodes at the same position, or sum components over positions; auto: by position if the prompts"
            " have the same length."
        ),
    ] = AlignBy.auto,
    top: Annotated[int, typer.Option(min=1, help="How many nodes, leaves and edges to list.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Tell what changes from one saved graph to another: two prompts, or two answers.

    Lists the heads and MLPs, the leaves and the edges whose part of the logit changes most, B − A.
    """
    from recursive_dla.comparison import compare
    from recursive_dla.graph import AttributionGraph

    graphs = AttributionGraph.load(first), AttributionGraph.load(second)
    change = compare(*graphs, align=None if align is AlignBy.auto else align.value)
    if as_json:
        print_json(_document(change, top))
        return
    from rich.console import Console

    Console().print(_render(change, top))


def _tables(change: Any, top: int) -> dict[str, Any]:
    """What is listed, by title."""
    nodes = change.nodes
    inner = change.strongest(top, rows=nodes[~nodes["leaf"] & (nodes["kind"] != "logit")])
    return {
        "nodes": inner,
        "leaves": change.strongest(top, rows=change.leaves),
        "edges": change.strongest(top, rows=change.edges),
    }


def _document(change: Any, top: int) -> dict[str, Any]:
    from recursive_dla.output.files.graph_document import metadata_document

    return {
        "a": metadata_document(change.a),
        "b": metadata_document(change.b),
        "align": change.by,
        "difference": change.value,
        **{title: table.to_dict("records") for title, table in _tables(change, top).items()},
    }


def _render(change: Any, top: int) -> Any:
    from rich.console import Group
    from rich.text import Text

    from recursive_dla.output.style import subject
    from recursive_dla.output.terminal import colored, report_line, shown, table_of_numbers

    parts: list[Any] = [
        report_line(name, f"{meta.prompt!r}: {subject(meta.target)}: ", (f"{meta.value:+.4f}", "bold"), " logits")
        for name, meta in (("A", change.a), ("B", change.b))
    ]
    parts.append(report_line("B − A", (f"{change.value:+.4f}", "bold"), f" logits, by {change.by}"))
    for title, rows in _tables(change, top).items():
        table = table_of_numbers(title.capitalize(), "A", "B", "B − A")
        for row in rows.itertuples(index=False):
            table.add_row(shown(row.name), *map(colored, (row.a, row.b, row.difference)))
        parts += [Text(), table]
    return Group(*parts)
