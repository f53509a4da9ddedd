"""A tree to unfold."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from recursive_dla.output.notebook.templates import render

if TYPE_CHECKING:
    from recursive_dla.trees.data import TreeData

_MOST_NODES = 120


class _ShownNode(NamedTuple):
    """A node of the tree, or the nodes below one that are left out, with what hangs from it."""

    label: str
    weight: float
    below: list[_ShownNode]


def tree_html(tree: TreeData) -> str:
    """A tree to unfold: its strongest nodes, each with the sum of those that are left out.

    Example:
        >>> tree = attribution_tree(cache, model, " Mary", wrong_answers=" John")
        >>> tree_html(tree).count("<details") > 10
        True
    """
    from recursive_dla.output.tree_text import explained, facts, outline

    lines = outline(tree, _MOST_NODES)
    shown = [_ShownNode(line.label, line.weight, []) for line in lines]
    for node, line in zip(shown[1:], lines[1:], strict=True):
        shown[line.parent].below.append(node)
    return render(
        "tree.html", explained=f"{explained(tree)}, {len(tree.nodes):,} nodes", facts=facts(tree), root=shown[0]
    )
