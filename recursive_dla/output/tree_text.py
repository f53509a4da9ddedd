"""A tree as lines: which of its nodes to show when there are many, and the indented text that ``print`` gives."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recursive_dla.attribution.labels import visible, visible_line
from recursive_dla.output.style import subject, unit_of
from recursive_dla.trees.data import INNER, TreeData

if TYPE_CHECKING:
    from recursive_dla.trees.paths import PathsData

_ROWS = 60
_LONGEST_TEXT = 24


class Line(NamedTuple):
    """One node of a tree that is shown, or the nodes below one that are not.

    Attributes:
        row: The node; ``None`` for those of a parent that are not shown, together.
        parent: The parent's place among the lines; -1 for the root.
        label: What it is.
        weight: What it carries.
        share: Of the root's weight.
        last: For each level from the first below the root down to its own, whether nothing follows there.
    """

    row: int | None
    parent: int
    label: str
    weight: float
    share: float
    last: tuple[bool, ...]


def outline(tree: TreeData, most: int = _ROWS) -> list[Line]:
    """The strongest nodes that hang together, parents before children; the weights of what is left out are summed.

    Args:
        tree: Any tree.
        most: How many nodes to show.
    """
    nodes = tree.nodes
    weight, share = nodes["weight"].to_numpy(), nodes["share"].to_numpy()
    parents, first, counts = np.unique(nodes["parent"].to_numpy(), return_index=True, return_counts=True)
    children = {
        parent: range(start, start + count)
        for parent, start, count in zip(parents.tolist(), first.tolist(), counts.tolist(), strict=True)
    }
    shown: set[int] = set()
    heap = [(-abs(weight[0]), 0)]
    while heap and len(shown) < most:
        _, row = heapq.heappop(heap)
        shown.add(row)
        for child in children.get(row, ()):
            heapq.heappush(heap, (-abs(weight[child]), child))
    lines: list[Line] = []
    kinds = nodes["kind"].to_numpy()
    columns = [nodes[name].to_numpy() for name in ("id", "kind", "token", "sources", "expanded")]

    def label(row: int) -> str:
        name, kind, token, count, expanded = (column[row] for column in columns)
        if kind == "rest":
            return f"rest: {count:,} source{'s' if count > 1 else ''}"
        # One that can be expanded and is not says its number.
        more = f"  [{row}]" if kind in INNER and not expanded else ""
        return f"{name} {visible(token, _LONGEST_TEXT)}{more}"

    def add(row: int, parent: int, last: tuple[bool, ...]) -> None:
        lines.append(Line(row, parent, label(row), float(weight[row]), float(share[row]), last))
        place = len(lines) - 1
        below = list(children.get(row, ()))
        left = [child for child in below if child not in shown]
        # A lone rest says nothing that the node itself does not.
        if len(left) == len(below) or [kinds[child] for child in below] == ["rest"]:
            return
        if len(left) == 1:
            left = []  # a line for the one that is left out would take as much room as itself
        for child in below:
            if child not in left:
                add(child, place, (*last, not left and child == below[-1]))
        if left:
            sums = float(weight[left].sum()), float(share[left].sum())
            lines.append(Line(None, place, f"… {len(left)} more", *sums, (*last, True)))

    add(0, -1, ())
    return lines


def branch(last: tuple[bool, ...]) -> str:
    """The lines that lead to a node."""
    own = len(last) - 1
    return "".join(
        ("└ " if done else "├ ") if level == own else ("  " if done else "│ ") for level, done in enumerate(last)
    )


def headline(tree: TreeData) -> str:
    """What a tree explains, how, and how large it is."""
    return visible_line(f"AttributionTree of {explained(tree)}, {len(tree.nodes):,} nodes")


def explained(tree: TreeData) -> str:
    """What a tree explains, and how much that is."""
    target, nodes = tree.metadata.target, tree.nodes
    started = "" if nodes["kind"][0] == "logit" else f"{nodes['id'][0]} in "
    return f"{started}{subject(target)}: {nodes['weight'][0]:+.4f}{unit_of(target.answer)}"


def facts(tree: TreeData) -> str:
    """How a tree was made, and how well it adds up."""
    meta = tree.metadata
    ended = f"; {_ENDED[tree.ended]}" if tree.ended in _ENDED else ""
    return (
        f"{meta.model}, rule {meta.rule}, unit {meta.unit}; {int(tree.nodes['expanded'].sum()):,} nodes expanded"
        f"{ended}; completeness error {tree.completeness_error:.1e}"
    )


_ENDED = {"nodes": "more within reach", "seconds": "stopped by the clock", "interrupted": "stopped by Ctrl-C"}


def tree_text(tree: TreeData, most: int = _ROWS) -> str:
    """The tree as indented lines with signed weights and shares of the root; of a large one its strongest nodes.

    A number in brackets is the row of a node that is not expanded, for :meth:`AttributionTree.expand`.
    """
    lines = [headline(tree), facts(tree)]
    lines += [f"{_amounts(line.weight, line.share)}{branch(line.last)}{line.label}" for line in outline(tree, most)]
    return "\n".join(map(visible_line, lines))


def paths_text(paths: PathsData) -> str:
    """The paths, one to a line, and what they leave."""
    table = paths.table
    rows = [*zip(table["path"], table["weight"], table["share"], strict=True), *sums(paths)]
    lines = [f"The {len(paths)} strongest paths of {explained(paths.tree)}", facts(paths.tree)]
    lines += [_amounts(weight, share) + name for name, weight, share in rows]
    lines.append(hidden_paths(paths))
    return "\n".join(map(visible_line, lines))


def sums(paths: PathsData) -> list[tuple[str, float, float]]:
    """What the paths carry together and what they leave: its name, its weight, and its share of the whole."""
    parts = {
        "these paths": paths.explained,
        "weaker paths that were found": paths.weaker,
        "not explored": paths.unexplored,
    }
    return [(name, weight, weight / paths.total if paths.total else math.nan) for name, weight in parts.items()]


def hidden_paths(paths: PathsData) -> str:
    """Whether a stronger path may have been missed."""
    if paths.strongest_unexplored == 0:
        return "All paths were followed to their ends."
    least = paths.table["weight"].abs().min() if len(paths.table) else 0.0
    compared = (
        f"Nodes that were not explored carry up to {paths.strongest_unexplored:.4f} each, the weakest path here"
        f" {least:.4f}."
    )
    if paths.settled:
        return f"{compared} A stronger path is missing only where paths through one node cancel each other."
    return f"{compared} Stronger paths may be missing; give the search more nodes or time."


def _amounts(weight: float, share: float) -> str:
    return f"{weight:+9.3f} {f'{share:+5.0%}' if math.isfinite(share) else '    –'}  "
