"""Where a sweep's edges go as they are found: all of them are kept, or the strongest.

While it is collected, a node has the number ``group * n_pos + pos``, where a group is a component, the logit, or a
constant of a layer. What comes out are rows among the nodes that have edges, in the order of their numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recursive_dla.errors import InputError
from recursive_dla.graphs.memory_budget import COLLECTED_BETWEEN
from recursive_dla.graphs.products import EdgeBlock
from recursive_dla.graphs.pruning import strongest


class Edges(NamedTuple):
    """Edges as three arrays: the numbers (in the end, the rows) of both ends, and the weight."""

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    def where(self, keep: np.ndarray) -> Edges:
        return Edges(*(array[keep] for array in self))


class AllEdges:
    """Keeps every edge that is not exactly zero.

    Args:
        n_pos: How many positions there are.
        size: How many edges :meth:`add_block` may bring at most.
        like: Has the dtype of the weights.
    """

    def __init__(self, n_pos: int, size: int, like: Tensor) -> None:
        self._n_pos = n_pos
        self._weight = np.empty(size, like.new_empty(0).numpy(force=True).dtype)
        self._used = 0
        self._has_zeros = False
        self._blocks: list[_KeptBlock] = []
        self._others: list[Edges] = []

    def floor(self) -> float:
        """The absolute weight that an edge must exceed to be kept."""
        return 0.0

    def buffer(self, n_rows: int, n_sources: int, like: Tensor) -> Tensor:
        """Memory for the weights of the next rows: where they will stay, if the device can write there."""
        if like.device.type != "cpu":
            return like.new_empty(n_rows, n_sources)
        return torch.from_numpy(self._weight[self._used : self._used + n_rows * n_sources]).view(n_rows, n_sources)

    def add_block(self, block: EdgeBlock) -> None:
        """Take the in-edges of destinations from every component."""
        dest, src_pos, weight = (part.numpy(force=True) for part in block)
        if np.count_nonzero(weight) < weight.size:
            alive = weight.any(axis=1)
            dest, src_pos, weight = dest[alive], src_pos[alive], weight[alive]
            self._has_zeros |= bool(np.count_nonzero(weight) < weight.size)
        kept = self._weight[self._used : self._used + weight.size].reshape(weight.shape)
        if not np.may_share_memory(kept, weight):
            kept[:] = weight
        self._used += weight.size
        self._blocks.append(_KeptBlock(dest, src_pos, weight.shape[1]))

    def add(self, edges: Edges) -> None:
        """Take edges by their numbers."""
        self._others.append(edges.where(edges.weight != 0))

    def finished(self, n_groups: int, root: int) -> tuple[np.ndarray, Edges]:
        """The numbers of the nodes that have edges, and of ``root``; and all edges, by the rows of their ends among
        those.
        """
        found = self._without_zeros(n_groups) if self._has_zeros else None
        used = np.zeros((n_groups, self._n_pos), dtype=bool)
        numbers = used.reshape(-1)
        numbers[root] = True
        for edges in self._others if found is None else [*self._others, found]:
            numbers[edges.source] = numbers[edges.target] = True
        if found is None:
            for block in self._blocks:
                numbers[block.dest] = True
                used[: block.n_sources, np.bincount(block.src_pos, minlength=self._n_pos) > 0] = True
        rows = np.cumsum(numbers, dtype=np.int32) - np.int32(1)
        if found is None:
            found = self._numbered(rows)
        else:
            for ends in (found.source, found.target):
                np.take(rows, ends, out=ends, mode="clip")
        others = [Edges(rows[edges.source], rows[edges.target], edges.weight) for edges in self._others]
        if others:
            found = Edges(*map(np.concatenate, zip(found, *others, strict=True)))
        return numbers.nonzero()[0], found

    def _numbered(self, rows: np.ndarray) -> Edges:
        """The edges of all blocks, their ends as ``rows`` has them."""
        source, target = np.empty(self._used, np.int32), np.empty(self._used, np.int32)
        rows_at = np.ascontiguousarray(rows.reshape(-1, self._n_pos).T)  # [pos, group]
        start = 0
        for dest, src_pos, n_sources in self._blocks:
            shape = (len(dest), n_sources)
            here = slice(start, start + len(dest) * n_sources)
            np.take(rows_at[:, :n_sources], src_pos, axis=0, out=source[here].reshape(shape), mode="clip")
            target[here].reshape(shape)[:] = rows[dest][:, None]
            start = here.stop
        return Edges(source, target, self._weight[: self._used])

    def _without_zeros(self, n_groups: int) -> Edges:
        """The edges of all blocks but those of weight zero, by the numbers of their ends."""
        source, target, weight = self._numbered(np.arange(n_groups * self._n_pos, dtype=np.int32))
        kept = weight != 0
        # One after the other, so that no more than one is held twice.
        weight = weight[kept]
        self._weight = weight[:0]
        source = source[kept]
        return Edges(source, target[kept], weight)


class StrongestEdges:
    """Keeps the strongest edges: at most ``max_edges``, and none below ``min_weight``.

    The floor rises as stronger edges come in. Of equal ones the earlier is kept.

    Args:
        n_pos: How many positions there are.
        max_edges: How many edges to keep at most; ``None`` for any number.
        min_weight: The absolute weight that an edge must have.
        most: How many edges the memory holds, where ``max_edges`` does not say.
    """

    def __init__(self, n_pos: int, max_edges: int | None, min_weight: float, most: int | None = None) -> None:
        self._n_pos = n_pos
        self._max_edges = max_edges
        self._most = most
        # Edges of just `min_weight` are kept.
        self._floor = min_weight * (1 - 1e-6)
        self._parts: list[Edges] = []
        self._size = 0

    def floor(self) -> float:
        """As :meth:`AllEdges.floor`; it rises as edges come."""
        return self._floor

    def buffer(self, n_rows: int, n_sources: int, like: Tensor) -> Tensor:
        """Memory for the weights of the next block."""
        return like.new_empty(n_rows, n_sources)

    def add_block(self, block: EdgeBlock) -> None:
        """As :meth:`AllEdges.add_block`.

        Raises:
            InputError: There is no room for so many edges.
        """
        chosen = (block.weight.abs() > self._floor).nonzero()
        row, place = chosen[:, 0], chosen[:, 1]
        self._append(
            Edges(
                (place * self._n_pos + block.src_pos[row]).numpy(force=True),
                block.dest[row].numpy(force=True),
                block.weight[row, place].numpy(force=True),
            )
        )

    def add(self, edges: Edges) -> None:
        """As :meth:`AllEdges.add`; errors as of :meth:`add_block`."""
        self._append(edges.where(np.abs(edges.weight) > self._floor))

    def _append(self, edges: Edges) -> None:
        self._parts.append(edges)
        self._size += len(edges.weight)
        if self._max_edges is not None:
            if self._size > COLLECTED_BETWEEN * self._max_edges:
                self._compact()
        elif self._most is not None and self._size > self._most:
            raise InputError(
                f"More than {self._most:,} edges have `min_share` of the logit, too many for the memory budget. Raise"
                " `min_share`, give `max_edges`, or raise `memory_budget`."
            )

    def _compact(self) -> Edges:
        found = Edges(*map(np.concatenate, zip(*self._parts, strict=True)))
        if self._max_edges is not None and len(found.weight) > self._max_edges:
            size = np.abs(found.weight)
            kept = strongest(size, np.ones(len(size), dtype=bool), self._max_edges)
            found = found.where(kept)
            self._floor = max(self._floor, float(size[kept].min()))
        self._parts, self._size = [found], len(found.weight)
        return found

    def finished(self, n_groups: int, root: int) -> tuple[np.ndarray, Edges]:
        """As :meth:`AllEdges.finished`."""
        found = self._compact()
        used = np.zeros(n_groups * self._n_pos, dtype=bool)
        used[root] = True
        used[found.source] = used[found.target] = True
        rows = np.cumsum(used, dtype=np.int32) - np.int32(1)
        return used.nonzero()[0], Edges(rows[found.source], rows[found.target], found.weight)


Collector = AllEdges | StrongestEdges


class _KeptBlock(NamedTuple):
    dest: np.ndarray
    src_pos: np.ndarray
    n_sources: int
