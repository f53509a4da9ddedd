"""``recursive-dla info``: what a saved graph is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recursive_dla.commands.printing import JsonOption, print_json


def info(
    file: Annotated[Path, typer.Argument(help="A saved graph, in any format that can be read.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Tell what a saved graph is: its prompt and answer, its size, and how exactly it adds up."""
    from recursive_dla.output.file_facts import file_info

    facts = file_info(file)
    if as_json:
        print_json(facts)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, text in _rows(facts):
        table.add_row(Text(name, style="bold"), Text(text))
    Console().print(table)


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    from recursive_dla.attribution.labels import visible_line
    from recursive_dla.output.style import unit_of

    meta = facts["metadata"]
    target = meta["target"]
    rows = [
        ("file", f"{facts['file']}, {facts['format']} version {facts['version']}, {facts['bytes']:,} bytes"),
        ("made by", f"{meta['generator']}, {facts['dtype']}"),
        ("model", f"{meta['model']}, {meta['n_layers']} layers of {meta['n_heads']} heads"),
        ("prompt", f"{meta['prompt']} ({len(meta['tokens'])} tokens)"),
        ("explains", f"{target['label']} at {target['pos']}: {meta['value']:+.4f}{unit_of(target['answer'])}"),
        ("rule", meta["rule"]),
        (
            "nodes",
            f"{sum(facts['nodes'].values()):,}: " + ", ".join(f"{n:,} {kind}" for kind, n in facts["nodes"].items()),
        ),
        ("edges", f"{facts['edges']:,}"),
        ("adds up", f"completeness error {meta['completeness_error']:.1e}, nodes to {facts['imbalance']:.1e}"),
    ]
    if target["probability"] is not None:
        rows.insert(5, ("predicted", f"{target['answer']!r} with probability {target['probability']:.3f}"))
    if meta["pruning"]:
        rows.append(("pruned", ", ".join(f"{name} {value}" for name, value in meta["pruning"].items())))
    return [(name, visible_line(text)) for name, text in rows]
