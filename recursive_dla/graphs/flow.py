"""Passes over the edges of a flow network, level by level: one array operation for each level, none for each edge.

A node's *level* is the length of the longest path to it. Edges only go to higher levels, so one pass over the edges, in
the order of their targets' levels, gives every sum over paths: the Neumann series ``A + A² + …`` of the edges' matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


class CycleError(ValueError):
    """Edges that lead in a circle; ``nodes`` are those in it and between such circles."""

    def __init__(self, nodes: np.ndarray) -> None:
        super().__init__("the edges lead in a circle")
        self.nodes = nodes


@dataclass(frozen=True)
class LevelledEdges:
    """Edges in the order of their targets' levels.

    Attributes:
        n_nodes: How many nodes there are.
        source: For each edge, the node it comes from.
        target: The node it goes to.
        weight: Its absolute weight, in double precision.
        bounds: Where each level's edges start, and where the last ones end.
        order: For each edge, its place among those given to :func:`by_level`.
    """

    n_nodes: int
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    bounds: np.ndarray
    order: np.ndarray

    def upwards(self) -> Iterator[slice]:
        """The edges into each level, the lowest first: all that a source reads has gone before."""
        for start, stop in zip(self.bounds[:-1].tolist(), self.bounds[1:].tolist(), strict=True):
            yield slice(start, stop)

    def downwards(self) -> Iterator[slice]:
        """The edges into each level, the highest first: all that reads a target has gone before."""
        yield from reversed(list(self.upwards()))

    def into(self) -> np.ndarray:
        """The absolute weight that comes into each node."""
        return totals(self.target, self.weight, self.n_nodes)


def totals(ends: np.ndarray, weight: np.ndarray, n_nodes: int) -> np.ndarray:
    """What the edges with each node at this end weigh together, in double precision."""
    return np.bincount(ends, weights=weight, minlength=n_nodes).astype(np.float64)


def merge_parallel(
    source: np.ndarray, target: np.ndarray, n_nodes: int, *weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Edges with the same two ends as one: sources and targets in ascending order, and the sums of their weights."""
    order = _stable_order(target, n_nodes)
    order = order[_stable_order(source[order], n_nodes)]
    source, target = source[order], target[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
    starts = np.flatnonzero(first)
    sums = [np.add.reduceat(weight[order].astype(np.float64), starts) for weight in weights]
    return source[starts], target[starts], sums


def node_levels(source: np.ndarray, target: np.ndarray, n_nodes: int) -> np.ndarray:
    """The length of the longest path to each node.

    Raises:
        CycleError: There is none, since edges lead in a circle.
    """
    target = target[_stable_order(source, n_nodes)]
    first = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=n_nodes))])
    waiting = np.bincount(target, minlength=n_nodes)
    level = np.zeros(n_nodes, dtype=np.int32)
    ready, seen, depth = np.flatnonzero(waiting == 0), 0, 0
    while len(ready):
        level[ready] = depth
        depth, seen = depth + 1, seen + len(ready)
        fed = np.bincount(target[_ranges(first[ready], first[ready + 1])], minlength=n_nodes)
        waiting -= fed
        ready = np.flatnonzero((waiting == 0) & (fed > 0))
    if seen < n_nodes:
        raise CycleError(np.flatnonzero(waiting > 0))
    return level


def by_level(source: np.ndarray, target: np.ndarray, weight: np.ndarray, level: np.ndarray) -> LevelledEdges:
    """Edges in the order in which the passes take them; ``level`` as of :func:`node_levels`, of these edges or more."""
    depth = int(level.max(initial=0)) + 1
    of_edge = level[target]
    order = _stable_order(of_edge, depth)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(of_edge, minlength=depth))])
    size = np.abs(weight[order], dtype=np.float64)
    return LevelledEdges(len(level), source[order], target[order], size, np.unique(bounds), order)


def influence(edges: LevelledEdges, root: int) -> np.ndarray:
    """What share of ``root`` each node has over all paths, where a node's in-edges share it by absolute weight.

    A path's share is the product of its edges' ``|weight| / Σ |in-edges of the same node|``; the root itself has 1.
    """
    share = edges.weight / _nonzero(edges.into())[edges.target]
    found = np.zeros(edges.n_nodes)
    found[root] = 1.0
    for part in edges.downwards():
        found += np.bincount(
            edges.source[part], weights=share[part] * found[edges.target[part]], minlength=edges.n_nodes
        )
    return found


def edge_influence(edges: LevelledEdges, root: int) -> np.ndarray:
    """The share of ``root`` that flows along each edge, in the order of ``edges``: see :func:`influence`."""
    return edges.weight / _nonzero(edges.into())[edges.target] * influence(edges, root)[edges.target]


def traced(edges: LevelledEdges, leaves: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """What share of each node's inputs leads to leaves over these edges alone; from 0 to 1, and 1 for leaves.

    Args:
        edges: Some of the edges.
        leaves: Which nodes are leaves.
        inputs: For each node, the absolute weight of all its inputs, these edges or others.
    """
    found = leaves.astype(np.float64)
    inputs = _nonzero(inputs)
    for part in edges.upwards():
        target = edges.target[part]
        found += np.bincount(
            target, weights=edges.weight[part] * found[edges.source[part]] / inputs[target], minlength=edges.n_nodes
        )
    return found


def leading_to(edges: LevelledEdges, roots: np.ndarray) -> np.ndarray:
    """Which nodes are among ``roots`` or lead to one."""
    found = roots.copy()
    for part in edges.downwards():
        found[edges.source[part][found[edges.target[part]]]] = True
    return found


def fed_by(edges: LevelledEdges, leaves: np.ndarray) -> np.ndarray:
    """Which nodes are among ``leaves`` or lead from one."""
    found = leaves.copy()
    for part in edges.upwards():
        found[edges.target[part][found[edges.source[part]]]] = True
    return found


def _nonzero(sums: np.ndarray) -> np.ndarray:
    return np.where(sums > 0, sums, 1.0)


def _stable_order(keys: np.ndarray, n_keys: int) -> np.ndarray:
    # numpy sorts 16-bit integers by counting, several times as fast as others.
    small = keys.astype(np.uint16) if n_keys <= 1 << 16 else keys
    return np.argsort(small, kind="stable")


def _ranges(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """``starts[0] … stops[0] - 1, starts[1] … stops[1] - 1, …``"""
    sizes = stops - starts
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)
