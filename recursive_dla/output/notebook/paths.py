"""A tree's strongest paths, and what they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recursive_dla.output.notebook.templates import render
from recursive_dla.output.style import signed_percent, unit_of

if TYPE_CHECKING:
    from recursive_dla.trees.paths import PathsData

_MOST_PATHS = 200


def paths_html(paths: PathsData) -> str:
    """The paths as a table, and what they leave.

    Example:
        >>> paths = strongest_paths(cache, model, " Mary", wrong_answers=" John", count=2, max_nodes=40)
        >>> "L23H3@14 ← L0MLP@10" in paths_html(paths)
        True
    """
    from recursive_dla.output.tree_text import explained, hidden_paths, sums

    table = paths.table.head(_MOST_PATHS)
    rows = [*zip(table["path"], table["weight"], table["share"], strict=True), *sums(paths)]
    return render(
        "paths.html",
        count=len(paths),
        explained=explained(paths.tree),
        unit=unit_of(paths.tree.metadata.target.answer),
        rows=[(name, weight, signed_percent(share)) for name, weight, share in rows],
        hidden=hidden_paths(paths),
    )
