"""Attribution trees as plain data: one row for each node, and what each level adds up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from recursive_dla.attribution.node_meanings import Meaning
from recursive_dla.attribution.provenance import Provenance
from recursive_dla.errors import InputError

UNITS = ("heads", "layers", "neurons")
# The columns of a tree's nodes.
COLUMNS = (
    *("parent", "depth", "id", "kind", "component", "layer", "head", "pos", "token"),
    *("weight", "share", "expanded", "sources", "largest"),
)
# What reads the residual stream and can be expanded.
INNER = ("logit", "head", "attn", "mlp", "neuron")


@dataclass(frozen=True)
class TreeMetadata(Provenance):
    """Where a tree comes from: its provenance, and how it was made.

    The provenance's ``value`` is also the root's weight, unless the tree starts elsewhere than at the answer.

    Attributes:
        unit: What the nodes are: ``heads``, ``layers`` or ``neurons``.
        rule: How MLPs were made linear.
        top_k: How many sources each node has at most; ``None`` for all.
        min_share: How much of the root's weight a source has at least.
    """

    unit: str
    rule: str
    top_k: int | None
    min_share: float
    generator: str


class TreeNodes(NamedTuple):
    """The nodes of a tree as flat arrays; each names its meaning by its place in ``meanings``."""

    meanings: tuple[Meaning, ...]
    meaning: np.ndarray
    expanded: np.ndarray
    parent: np.ndarray
    depth: np.ndarray
    pos: np.ndarray
    weight: np.ndarray
    sources: np.ndarray
    largest: np.ndarray


class TreeData:
    """Paths into one answer, or into one component on the way to it.

    For every expanded node, Σ children = its weight, to float precision: its strongest sources, its constants (shares
    of biases, and what an MLP rule leaves over), and one child ``rest`` for all other sources together.

    Attributes:
        metadata: Where it comes from.
        ended: Why it stopped growing: ``"complete"`` (all within its limits is there), ``"nodes"``, ``"seconds"`` (the
            budget is spent), ``"interrupted"`` (by Ctrl-C), ``"enough"`` (what was looked for was found), or ``""``
            for one that was read from a file.
    """

    def __init__(self, nodes: pd.DataFrame, metadata: TreeMetadata, ended: str = "") -> None:
        self._nodes: pd.DataFrame | None = nodes
        self.metadata = metadata
        self.ended = ended

    @property
    def nodes(self) -> pd.DataFrame:
        """One row for each node, the root first and the children of a node together, the strongest first.

        A node's number is its row, and stays the same as the tree grows. Columns: ``parent`` (a row; -1 for the root)
        and ``depth``; ``id``, ``kind``, ``component``, ``layer``, ``head``, ``pos`` and ``token`` as in a graph's
        nodes, with ``kind`` also ``attn`` (a layer's whole attention), ``neuron`` and ``rest``; ``weight`` in logits,
        positive raises the answer; ``share``, of the root's weight; ``expanded``, whether it has children; ``sources``
        and ``largest``, how many sources the row stands for (1, or more in ``rest``) and the largest absolute weight
        among them. Of a ``rest``, ``layer`` and ``pos`` are -1 and ``token`` is empty.
        """
        assert self._nodes is not None
        return self._nodes

    @property
    def completeness_error(self) -> float:
        """The largest ``|Σ children − weight|`` of the expanded nodes, relative to the largest weight."""
        nodes = self.nodes
        weight, parent = nodes["weight"].to_numpy(), nodes["parent"].to_numpy()
        sums = np.bincount(parent[1:], weights=weight[1:], minlength=len(nodes))
        errors = np.abs(sums - weight)[nodes["expanded"].to_numpy()]
        return float(errors.max(initial=0.0) / max(np.abs(weight).max(), np.finfo(float).tiny))

    def children(self, node: int) -> pd.DataFrame:
        """The rows of a node's children, the strongest first."""
        return self.nodes[self.nodes["parent"] == node]

    def find(self, *path: str) -> int:
        """The row of a node, by the ids on the way to it from below the root: ``find("L23H3@14", "L0MLP@10")``.

        Raises:
            InputError: The tree has no such path.
        """
        nodes, row = self.nodes, 0
        for step in path:
            found = nodes.index[(nodes["parent"] == row) & (nodes["id"] == step)]
            if not len(found):
                raise InputError(f"{nodes['id'][row]!r} has no child {step!r} in this tree.")
            row = int(found[0])
        return row


def tree_table(nodes: TreeNodes, metadata: TreeMetadata) -> pd.DataFrame:
    names, kinds, components, layers, heads = (np.array(parts) for parts in zip(*nodes.meanings, strict=True))
    of, pos = nodes.meaning, nodes.pos
    # The last is for a rest, whose position is -1.
    texts = np.array([*(token.text for token in metadata.tokens), ""], dtype=object)
    at = np.array([*(f"@{place}" for place in range(len(texts) - 1)), ""], dtype=object)
    return pd.DataFrame(
        {
            "parent": nodes.parent,
            "depth": nodes.depth,
            "id": names.astype(object)[of] + at[pos],
            "kind": kinds.astype(object)[of],
            "component": components.astype(object)[of],
            "layer": layers[of],
            "head": heads[of],
            "pos": pos,
            "token": texts[pos],
            "weight": nodes.weight,
            "share": nodes.weight / nodes.weight[0] if nodes.weight[0] else np.nan,
            "expanded": nodes.expanded,
            "sources": nodes.sources,
            "largest": nodes.largest,
        }
    )
