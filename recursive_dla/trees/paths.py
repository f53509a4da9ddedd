"""The strongest end-to-end paths: chains from an embedding or a bias to the answer, and what each carries.

The weight of a path is the weight of its leaf in the tree of all paths, so the weights of all paths there are sum to
the logit. Their number grows exponentially with the depth of the model; what is found is found best-first, and what was
not looked into is reported with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recursive_dla.errors import InputError
from recursive_dla.trees.data import INNER, TreeData, TreeMetadata


@dataclass(frozen=True, eq=False)
class PathsData:
    """The strongest paths of a tree, the strongest first.

    ``explained`` + ``weaker`` + ``unexplored`` = ``total``, to float precision.

    Attributes:
        table: One row for each path: ``path``, a chain from the root's side to the leaf such as ``L23H3@14 ← L0MLP@4 ←
            embed ' Mary'@4``; its ``weight`` in logits, and the ``share`` of the root's weight; ``length``, how many
            components it has; ``leaf`` (an id), with its ``kind``, ``pos`` and ``token``; ``row``, that of the leaf in
            the tree's nodes.
        tree: Where they are from. It can be grown on, and :meth:`AttributionTree.paths` of it looked at again.
        total: The root's weight: the logit, or logit difference.
        explained: The sum of these paths.
        weaker: The sum of all other complete paths in the tree.
        unexplored: The sum of everything that was not followed to its end: nodes that were not expanded, and what was
            cut.
        strongest_unexplored: The largest absolute weight of a single node within it. A path that was not found can
            carry more than this only if others through the same node cancel it.
    """

    table: pd.DataFrame
    tree: TreeData
    total: float
    explained: float
    weaker: float
    unexplored: float
    strongest_unexplored: float

    @property
    def metadata(self) -> TreeMetadata:
        """Where the tree comes from."""
        return self.tree.metadata

    @property
    def settled(self) -> bool:
        """Whether every node that was not looked into is weaker than the weakest of these paths."""
        weights = self.table["weight"].abs()
        return self.strongest_unexplored == 0 or (
            len(weights) > 0 and self.strongest_unexplored <= float(weights.min())
        )

    def __len__(self) -> int:
        return len(self.table)


def paths_of(tree: TreeData, count: int | None = 20) -> PathsData:
    """The strongest complete paths of a tree."""
    if count is not None:
        at_least_one(count)
    nodes = tree.nodes
    kind, weight = nodes["kind"].to_numpy(), nodes["weight"].to_numpy(float)
    open_ends = (np.isin(kind, INNER) & ~nodes["expanded"].to_numpy()) | (kind == "rest")
    complete = np.nonzero(~open_ends & ~nodes["expanded"].to_numpy())[0]
    order = complete[np.argsort(-np.abs(weight[complete]), kind="stable")]
    found = order[:count]
    leaves = nodes.iloc[found]
    chains = [_chain(nodes["parent"].to_numpy(), row) for row in found.tolist()]
    ids, tokens = nodes["id"].to_numpy(), nodes["token"].to_numpy()
    table = pd.DataFrame(
        {
            "path": [_text(ids, tokens, chain) for chain in chains],
            "weight": leaves["weight"].to_numpy(),
            "share": leaves["share"].to_numpy(),
            "length": np.array([len(chain) for chain in chains], dtype=int),
            "leaf": leaves["id"].to_numpy(),
            "kind": leaves["kind"].to_numpy(),
            "pos": leaves["pos"].to_numpy(),
            "token": leaves["token"].to_numpy(),
            "row": found,
        }
    )
    return PathsData(
        table=table,
        tree=tree,
        total=float(weight[0]),
        explained=float(weight[found].sum()),
        weaker=float(weight[order[len(found) :]].sum()),
        unexplored=float(weight[open_ends].sum()),
        strongest_unexplored=float(nodes["largest"].to_numpy()[open_ends].max(initial=0.0)),
    )


def at_least_one(count: int) -> None:
    """Whether there can be so many paths.

    Raises:
        InputError: There cannot.
    """
    if count < 1:
        raise InputError(f"`count` must be at least 1. Got {count}.")


def _chain(parents: np.ndarray, row: int) -> list[int]:
    """From below the root to a node."""
    chain = []
    while row > 0:
        chain.append(row)
        row = int(parents[row])
    return chain[::-1]


def _text(ids: np.ndarray, tokens: np.ndarray, chain: list[int]) -> str:
    """A chain of ids; the leaf says its token as well."""
    *inner, leaf = chain
    name, _, at = ids[leaf].rpartition("@")
    return " ← ".join([*(ids[row] for row in inner), f"{name} {tokens[leaf]!r}@{at}"])
