"""Growing an attribution tree: always the strongest node next, under a budget.

1. The root is the target, or a component with the direction that the target reads from it over all paths.
2. Of all nodes that may be expanded, the one with the largest absolute weight is next. It gets its strongest sources
   and its constants as children, and one child ``rest`` for everything else, so its children sum to its weight.
3. That goes on until the budget is spent or nothing is left within the depth that was asked for.

The numbers are made ahead in batches (:mod:`recursive_dla.trees.ahead`): when the next node has not been computed, the
strongest ones after it are computed with it. Which nodes are expanded, and in which order, does not depend on that; so
a tree grown in two steps is the tree grown in one. Nothing is ever computed twice.
"""

from __future__ import annotations

import heapq
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from recursive_dla.attribution.mlp_rules import MLPRule
from recursive_dla.attribution.targets import Target
from recursive_dla.cache.activations import Activations
from recursive_dla.errors import InputError
from recursive_dla.progress import tracked
from recursive_dla.trees.ahead import CHILD_COLUMNS, Ahead
from recursive_dla.trees.data import TreeNodes
from recursive_dla.trees.expansion import Expander, SourceLimits
from recursive_dla.trees.interrupts import interruptible

# How many nodes are computed together, and how weak they may be beside the first of them. More and weaker ones would be
# quicker for each, but more of them for nothing.
_BATCH, _SMALLEST_BATCH, _NEARLY = 256, 8, 0.7


class TreeLimits(NamedTuple):
    """What a tree's nodes are, and how many children each may have."""

    unit: str
    top_k: int | None
    min_share: float


class TreeSearch:
    """A tree while it grows: its nodes, which of them are next, and what is needed to go on.

    Args:
        cache: A checked cache of one prompt.
        target: What is explained.
        start: The component and position to start from; ``None`` for the target itself.
        rule: How MLPs are made linear.
        limits: What the nodes are, and how many children each has.
    """

    # Of each node, in the order in which they were added. A child's direction is `factor` times row `row`.
    _COLUMNS = (
        ("code", "q"),
        ("pos", "q"),
        ("parent", "q"),
        ("depth", "q"),
        ("weight", "d"),
        ("factor", "d"),
        ("row", "q"),
        ("sources", "q"),
        ("largest", "d"),
    )

    def __init__(
        self, cache: Activations, target: Target, start: tuple[str, int] | None, rule: MLPRule, limits: TreeLimits
    ) -> None:
        self._expander = Expander(cache, target, limits.unit, rule)
        self.vocabulary = self._expander.vocabulary
        code, pos, direction, weight = self._expander.root() if start is None else self._start(target, *start)
        self._values: dict[str, Any] = {name: array(kind) for name, kind in self._COLUMNS}
        for name, value in zip(self._values, (code, pos, -1, 0, weight, 1.0, 0, 1, abs(weight)), strict=True):
            self._values[name].append(value)
        sources = SourceLimits(limits.top_k, limits.min_share * abs(weight))
        self._ahead = Ahead(self._expander, direction, sources)
        self._expanded = array("b", [0])
        self._heap: list[tuple[float, int]] = [(-abs(weight), 0)]
        self._ended = "complete"

    def _start(self, target: Target, name: str, pos: int) -> tuple[int, int, Tensor, float]:
        code = self.vocabulary.code(name)
        if code == self.vocabulary.root:
            if pos != int(target.pos[0]):
                raise InputError(f"The answer is read at position {int(target.pos[0])}. Got `start` {name}@{pos}.")
            return self._expander.root()
        _, layer = self.vocabulary.stage(code)
        direction = None
        if layer < target.layer and pos <= int(target.pos[0]):
            direction = self._expander.total_direction(code, pos)
        if direction is None or not direction.any():
            raise InputError(
                f"{name}@{pos} gives nothing to what is read at position {int(target.pos[0])} before layer"
                f" {target.layer}; start from something that does."
            )
        return code, pos, direction, self._expander.weight(code, pos, direction)

    # --- growing -------------------------------------------------------------------------------------------------

    def grow(
        self,
        nodes: int | None,
        depth: int | None,
        seconds: float | None,
        paths: int | None = None,
    ) -> str:
        """Expand the strongest nodes, one after the other.

        Args:
            nodes: How many at most.
            depth: Only nodes above this level.
            seconds: For how long.
            paths: Stop when so many leaves are there, each at least as strong as the next node.

        Returns:
            Why it ended: ``"complete"``, ``"nodes"``, ``"seconds"``, ``"enough"`` or ``"interrupted"``.
        """
        start = time.monotonic()
        strong = None if paths is None else _StrongLeaves(paths)
        with interruptible() as interrupt:

            def ended(done: int, size: float) -> str | None:
                if nodes is not None and done >= nodes:
                    return "nodes"
                if seconds is not None and time.monotonic() - start >= seconds:
                    return "seconds"
                if interrupt.requested:
                    return "interrupted"
                return "enough" if strong is not None and strong.enough(self, size) else None

            self._ended = "complete"
            # Whether all nodes within reach will be expanded, so that none is computed for nothing.
            to_the_end = seconds is None and paths is None
            for _ in tracked(self._steps(nodes, depth, ended, to_the_end), nodes, "Expanding nodes"):
                pass
        return self._ended

    def _steps(
        self, nodes: int | None, depth: int | None, ended: Callable[[int, float], str | None], to_the_end: bool
    ) -> Iterator[int]:
        """Expand one node after the other, until ``ended`` says why not."""
        done, aside = 0, []
        try:
            while self._heap:
                size, node = self._heap[0]
                if self._expanded[node]:
                    heapq.heappop(self._heap)
                    continue
                if depth is not None and self._values["depth"][node] >= depth:
                    aside.append(heapq.heappop(self._heap))
                    continue
                if reason := ended(done, -size):
                    self._ended = reason
                    break
                if node not in self._ahead:
                    left = len(self._heap) if nodes is None else nodes - done
                    every = to_the_end and len(self._heap) <= left
                    most = left if every else max(_SMALLEST_BATCH, left - len(self._ahead))
                    self._compute(self._next(min(_BATCH, most), depth, every))
                heapq.heappop(self._heap)
                self._commit(node)
                done += 1
                yield done
        finally:
            for item in aside:
                heapq.heappush(self._heap, item)

    def expand(self, nodes: Iterable[int]) -> None:
        """Expand these nodes, whatever their weight and depth; those that already are stay as they are.

        Raises:
            InputError: There is no such node, or it is a leaf.
        """
        wanted = [int(node) for node in dict.fromkeys(nodes)]
        for node in wanted:
            if not 0 <= node < len(self._expanded):
                raise InputError(f"The tree has the nodes 0 to {len(self._expanded) - 1}. Got {node}.")
        codes = np.array([self._values["code"][node] for node in wanted], dtype=np.int64)
        for node, code, inner in zip(wanted, codes.tolist(), self.vocabulary.expandable(codes), strict=True):
            if not inner:
                raise InputError(f"Node {node}, {self.vocabulary.meaning(code).name}, has no sources to show.")
        wanted = [node for node in wanted if not self._expanded[node]]
        missing = [node for node in wanted if node not in self._ahead]
        if missing:
            self._compute(missing)
        for node in wanted:
            self._commit(node)

    def _next(self, most: int, depth: int | None, to_the_end: bool) -> list[int]:
        """The strongest nodes that are to be expanded and not computed yet.

        Unless all will be expanded, only those that are nearly as strong as the first: the others may wait long.
        """
        least = 0.0 if to_the_end else -_NEARLY * self._heap[0][0]
        taken: list[tuple[float, int]] = []
        found: list[int] = []
        while self._heap and len(found) < most and -self._heap[0][0] >= least:
            taken.append(heapq.heappop(self._heap))
            node = taken[-1][1]
            deep = depth is not None and self._values["depth"][node] >= depth
            if not deep and not self._expanded[node] and node not in self._ahead:
                found.append(node)
        for item in taken:
            heapq.heappush(self._heap, item)
        return found

    def _compute(self, nodes: list[int]) -> None:
        """The children of nodes, in one batch."""
        at = {name: np.array([self._values[name][node] for node in nodes]) for name in ("code", "pos", "row", "factor")}
        self._ahead.compute(nodes, **at)

    def _commit(self, node: int) -> None:
        """Add a node's computed children to the tree."""
        children = self._ahead.take(node)
        first, count = len(self._expanded), len(children[0])
        for name, values in zip(CHILD_COLUMNS, children, strict=True):
            self._values[name].extend(values)
        self._values["parent"].extend([node] * count)
        self._values["depth"].extend([self._values["depth"][node] + 1] * count)
        self._expanded.extend([0] * count)
        self._expanded[node] = 1
        codes = np.frombuffer(self._values["code"], dtype=np.int64)[first:]
        inner = self.vocabulary.expandable(codes)
        del codes  # an array cannot grow while numpy looks at it
        for child in (first + np.nonzero(inner)[0]).tolist():
            heapq.heappush(self._heap, (-self._values["largest"][child], child))

    # --- what is there -------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The number of nodes so far."""
        return len(self._expanded)

    def leaves(self, first: int) -> list[float]:
        """The absolute weights of the leaves among the nodes from ``first`` on, the rests left out."""
        codes, sizes = (np.array(self._values[name][first:]) for name in ("code", "largest"))
        return sizes[~self.vocabulary.expandable(codes) & (codes != self.vocabulary.rest)].tolist()

    def nodes(self) -> TreeNodes:
        """The nodes so far, as flat arrays."""
        columns = {name: np.array(values) for name, values in self._values.items()}
        codes, inverse = np.unique(columns["code"], return_inverse=True)
        return TreeNodes(
            meanings=tuple(self.vocabulary.meaning(code) for code in codes.tolist()),
            meaning=inverse,
            expanded=np.array(self._expanded, dtype=bool),
            **{name: columns[name] for name in ("parent", "depth", "pos", "weight", "sources", "largest")},
        )


class _StrongLeaves:
    """Says when a search has found ``count`` leaves, none of them weaker than the next node."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen = 0
        self._sizes: list[float] = []

    def enough(self, search: TreeSearch, size: float) -> bool:
        """Whether the next node, of this absolute weight, is not worth a look."""
        for leaf in search.leaves(self._seen):
            heapq.heappush(self._sizes, leaf)
            if len(self._sizes) > self._count:
                heapq.heappop(self._sizes)
        self._seen = search.size
        return len(self._sizes) == self._count and self._sizes[0] >= size
