"""Where a sweep's edges go as they are found: all of them are kept, or the strongest.

While it is collected, a node has the number ``group * n_pos + pos``, where a group is a component, the logit, or a
constant of a layer. What comes out are rows among the nodes that have edges, in the order of their numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from recursive_dla.edges import Fans
from recursive_dla.errors import InputError
from recursive_dla.pruning import strongest


class Edges(NamedTuple):
    """Edges as three arrays: the numbers (in the end, the rows) of both ends, and the weight."""

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    def where(self, keep: np.ndarray) -> Edges:
        return Edges(*(array[keep] for array in self))


class Everything:
    """Keeps every edge that is not exactly zero."""

    def __init__(self, n_pos: int) -> None:
        self._n_pos = n_pos
        self._parts: list[Edges | _NumpyFans] = []

    def floor(self) -> float:
        """The absolute weight that an edge must exceed to be kept."""
        return 0.0

    def add_fans(self, fans: Fans) -> None:
        """Take the in-edges of destinations from every component."""
        arrays = _NumpyFans(*map(_numpy, fans))
        if np.count_nonzero(arrays.weight) == arrays.weight.size:
            self._parts.append(arrays)  # numbered at the end, straight into the finished arrays
        else:
            self.add(arrays.edges(self._n_pos, arrays.weight != 0))

    def add(self, edges: Edges) -> None:
        """Take edges by their numbers."""
        self._parts.append(edges.where(edges.weight != 0))

    def finished(self, n_groups: int, root: int) -> tuple[np.ndarray, Edges]:
        """The numbers of the nodes that have edges, and of ``root``; and all edges, by the rows of their ends among
        those.
        """
        used = np.zeros((n_groups, self._n_pos), dtype=bool)
        numbers = used.reshape(-1)
        numbers[root] = True
        for part in self._parts:
            if isinstance(part, Edges):
                numbers[part.source] = numbers[part.target] = True
            else:
                numbers[part.dest] = True
                used[: part.weight.shape[1], np.unique(part.src_pos)] = True
        rows = np.cumsum(numbers, dtype=np.int32) - np.int32(1)
        rows_at = np.ascontiguousarray(rows.reshape(used.shape).T)  # [pos, group]
        size = sum(part.weight.size for part in self._parts)
        found = Edges(np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, self._parts[0].weight.dtype))
        start = 0
        for part in self._parts:
            source, target, weight = (array[start : start + part.weight.size] for array in found)
            if isinstance(part, Edges):
                source[:], target[:] = rows[part.source], rows[part.target]
            else:
                shape = part.weight.shape
                np.take(rows_at[:, : shape[1]], part.src_pos, axis=0, out=source.reshape(shape), mode="clip")
                target.reshape(shape)[:] = rows[part.dest][:, None]
            weight[:] = part.weight.reshape(-1)
            start += part.weight.size
        return numbers.nonzero()[0], found


class Strongest:
    """Keeps the strongest edges: at most ``max_edges``, and none below ``min_weight``.

    The floor rises as stronger edges come in. Of equal ones the earlier is kept.

    Args:
        n_pos: How many positions there are.
        max_edges: How many edges to keep at most; ``None`` for any number.
        min_weight: The absolute weight that an edge must have.
        room: How many edges the memory holds, where ``max_edges`` does not say.
    """

    def __init__(self, n_pos: int, max_edges: int | None, min_weight: float, room: int | None = None) -> None:
        self._n_pos = n_pos
        self._max_edges = max_edges
        self._room = room
        # Edges of just `min_weight` are kept.
        self._floor = min_weight * (1 - 1e-6)
        self._parts: list[Edges] = []
        self._size = 0

    def floor(self) -> float:
        """As :meth:`Everything.floor`."""
        return self._floor

    def add_fans(self, fans: Fans) -> None:
        """As :meth:`Everything.add_fans`.

        Raises:
            InputError: There is no room for so many edges.
        """
        chosen = (fans.weight.abs() > self._floor).nonzero()
        fan, place = chosen[:, 0], chosen[:, 1]
        self._append(
            Edges(
                _numpy(place * self._n_pos + fans.src_pos[fan]),
                _numpy(fans.dest[fan]),
                _numpy(fans.weight[fan, place]),
            )
        )

    def add(self, edges: Edges) -> None:
        """As :meth:`Everything.add`; errors as of :meth:`add_fans`."""
        self._append(edges.where(np.abs(edges.weight) > self._floor))

    def _append(self, edges: Edges) -> None:
        self._parts.append(edges)
        self._size += len(edges.weight)
        if self._max_edges is not None:
            if self._size > 4 * self._max_edges:
                self._compact()
        elif self._room is not None and self._size > self._room:
            raise InputError(
                f"More than {self._room:,} edges have `min_share` of the logit, too many for the memory budget. Raise"
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
        """As :meth:`Everything.finished`."""
        found = self._compact()
        used = np.zeros(n_groups * self._n_pos, dtype=bool)
        used[root] = True
        used[found.source] = used[found.target] = True
        rows = np.cumsum(used, dtype=np.int32) - np.int32(1)
        return used.nonzero()[0], Edges(rows[found.source], rows[found.target], found.weight)


Collector = Everything | Strongest


class _NumpyFans(NamedTuple):
    dest: np.ndarray
    src_pos: np.ndarray
    weight: np.ndarray

    def edges(self, n_pos: int, keep: np.ndarray) -> Edges:
        fan, place = keep.nonzero()
        return Edges(place * n_pos + self.src_pos[fan], self.dest[fan], self.weight[keep])


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
