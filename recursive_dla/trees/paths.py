"""The strongest end-to-end paths: chains from an embedding or a bias to the answer, and what each carries.

The weight of a path is the weight of its leaf in the tree of all paths, so the weights of all paths there are sum to
the logit. Their number grows exponentially with the depth of the model; what is found is found best-first, and what was
not looked into is reported with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from recursive_dla.attribution.mlp_rules import DEFAULT_RULE
from recursive_dla.attribution.targets import Answers, Positions, Target
from recursive_dla.errors import InputError
from recursive_dla.trees.tree import INNER, AttributionTree, TreeMetadata


@dataclass(frozen=True, eq=False)
class Paths:
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
    tree: AttributionTree
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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: ``metadata``, ``root``, the sums, and ``paths``, the rows of the table."""
        from recursive_dla.output.files.document import provenance_document

        columns = self.table.drop(columns="row").astype(object)
        return {
            "metadata": provenance_document(self.metadata),
            "root": self.tree.nodes["id"][0],
            "total": self.total,
            "explained": self.explained,
            "weaker": self.weaker,
            "unexplored": self.unexplored,
            "strongest_unexplored": self.strongest_unexplored,
            "paths": columns.where(columns.notna(), None).to_dict("records"),
        }

    def __len__(self) -> int:
        return len(self.table)

    def __str__(self) -> str:
        from recursive_dla.output.tree_text import paths_text

        return paths_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from recursive_dla.output.notebook import paths_html

        return paths_html(self)


def strongest_paths(
    cache: Any,
    model: Any,
    answers: Answers | Target,
    *,
    count: int = 20,
    wrong_answers: Answers | None = None,
    pos: Positions = None,
    start: str | None = None,
    unit: str = "heads",
    top_k: int | None = 100,
    max_nodes: int | None = 5000,
    max_seconds: float | None = 60.0,
    rule: str = DEFAULT_RULE,
    check: bool = True,
) -> Paths:
    """The strongest paths from embeddings and biases to an answer, through any number of components.

    A best-first search of the tree of all paths (:func:`recursive_dla.attribution_tree`): the node with the largest
    absolute weight is expanded next, until no node that is left is stronger than ``count`` complete paths, or the
    budget is spent. Which of the two it was is in the result, with the mass that was not explored.

    Args:
        cache: The activations of one prompt: ours, or TransformerLens's own.
        model: The model that made them.
        answers: One answer, or a :class:`recursive_dla.Target` of one number.
        count: How many paths.
        wrong_answers: The answer to subtract, for a logit difference.
        pos: The position whose logit is explained; the last by default.
        start: A component to start from, as for :func:`recursive_dla.attribution_tree`.
        unit: The same.
        top_k: How many sources of each node are followed at most; ``None`` for all.
        max_nodes: How many nodes to expand at most; ``None`` for any number.
        max_seconds: For how long at most; ``None`` for any time.
        rule: How MLPs are made linear: see :mod:`recursive_dla.attribution.mlp_rules`.
        check: Whether to verify the cache first: see :func:`recursive_dla.cache.checks.check`.

    Returns:
        The paths: Σ found + Σ weaker ones + unexplored = the logit.

    Raises:
        InputError: ``count`` is less than 1; or as :func:`recursive_dla.attribution_tree`.
        CacheError: The cache lacks activations, or does not fit the model.
        UnsupportedModelError: The model has a part that is not handled.

    Source: paths as in Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", with norms frozen.

    Example:
        >>> paths = strongest_paths(cache, model, " Mary", wrong_answers=" John", count=3, max_nodes=50)
        >>> paths.table["path"][0]
        "L23H3@14 ← L0MLP@10 ← embed ' John'@10"
        >>> bool(abs(paths.explained + paths.weaker + paths.unexplored - paths.total) < 1e-4)
        True
    """
    from recursive_dla.trees.building import attribution_tree

    _at_least_one(count)
    tree = attribution_tree(
        cache,
        model,
        answers,
        wrong_answers=wrong_answers,
        pos=pos,
        start=start,
        unit=unit,
        depth=None,
        top_k=top_k,
        min_share=0.0,
        max_nodes=0,
        rule=rule,
        check=check,
    )
    tree.grow(max_nodes, max_seconds=max_seconds, paths=count)
    return paths_of(tree, count)


def paths_of(tree: AttributionTree, count: int | None = 20) -> Paths:
    """The strongest complete paths of a tree; the public face of this is :meth:`AttributionTree.paths`."""
    if count is not None:
        _at_least_one(count)
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
    return Paths(
        table=table,
        tree=tree,
        total=float(weight[0]),
        explained=float(weight[found].sum()),
        weaker=float(weight[order[len(found) :]].sum()),
        unexplored=float(weight[open_ends].sum()),
        strongest_unexplored=float(nodes["largest"].to_numpy()[open_ends].max(initial=0.0)),
    )


def _at_least_one(count: int) -> None:
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
