"""What heads read times what was written at the keys they attend to: all products, or those that can exceed a floor.

Both go over the keys in blocks. To find every edge, a key's products go straight to where they are kept, for the
queries from that key on: nothing is computed that the causal mask removes. To find the strong ones, the Cauchy-Schwarz
inequality first bounds what can be in a block, and queries that reach the floor with no key of it are left out, which
is most of them in long prompts. Nothing that exceeds the floor is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Rounding must never put a weight above its bound.
_SAFETY = 1.001


class EdgeBlock(NamedTuple):
    """Edges a row at a time: into one destination, from every source at one position; some may not exceed the floor.

    Attributes:
        dest: Place and position of each row's destination, as ``place * n_pos + pos``.
        src_pos: The position of each row's sources.
        weight: From the first sources on; logits.
    """

    dest: Int[Tensor, " row"]
    src_pos: Int[Tensor, " row"]
    weight: Float[Tensor, "row src_comp"]


@runtime_checkable
class EdgeCollector(Protocol):
    """Where edges go (:mod:`recursive_dla.graphs.collectors`)."""

    def floor(self) -> float:
        """The absolute weight that an edge must exceed to be kept."""

    def buffer(self, n_rows: int, n_sources: int, like: Tensor) -> Float[Tensor, "row src_comp"]:
        """Memory for the weights of the next rows, which are to be handed over before more is asked for."""


class EdgeFactors(NamedTuple):
    """What the heads of a layer read, and how what was written comes to meet it.

    A row is a head at a query; rows are sorted by query. The weight of a row's edge from source ``c`` at ``key`` is
    ``weighting[row, key] · vectors[row] · columns[key, c]``. A space is the residual stream, where all heads meet their
    sources, or one value space of several.

    Attributes:
        dest: As in :class:`EdgeBlock`.
        columns: From a range of keys.
    """

    vectors: Float[Tensor, "space row d"]
    weighting: Float[Tensor, "space row key"]
    dest: Int[Tensor, "space row"]
    query: Int[Tensor, " row"]
    n_sources: int
    columns: Callable[[range], Float[Tensor, "space key src_comp d"]]


def every_edge(factors: EdgeFactors, collector: EdgeCollector, block_bytes: int) -> Iterator[EdgeBlock]:
    """All in-edges from no later position. Of windows and padding, some are zero.

    Args:
        factors: What meets.
        collector: Gives the memory for them.
        block_bytes: How large a block may be.
    """
    n_spaces, n_rows, _ = factors.vectors.shape
    n_keys = factors.weighting.shape[2]
    by_key = factors.weighting.permute(2, 0, 1)
    first = torch.searchsorted(factors.query, torch.arange(n_keys, device=factors.query.device)).tolist()
    for keys in _blocks(n_keys, _key_bytes(factors), block_bytes, n_keys):
        sizes = [n_spaces * (n_rows - first[key]) for key in keys]
        weight = collector.buffer(sum(sizes), factors.n_sources, factors.vectors)
        columns = factors.columns(keys).mT.unbind(1)
        for key, column, part in zip(keys, columns, weight.split(sizes), strict=True):
            torch.bmm(factors.vectors[:, first[key] :], column, out=part.view(n_spaces, -1, factors.n_sources))
        at = torch.arange(keys.start, keys.stop, device=factors.query.device)
        attends = (factors.query >= at[:, None])[:, None].expand(-1, n_spaces, -1)
        place = attends.flatten().nonzero()[:, 0]
        weight *= by_key[keys.start : keys.stop].flatten().index_select(0, place)[:, None]
        dest = factors.dest.flatten().index_select(0, place % (n_spaces * n_rows))
        yield EdgeBlock(dest, keys.start + place // (n_spaces * n_rows), weight)


def strong_edges(factors: EdgeFactors, collector: EdgeCollector, block_bytes: int) -> Iterator[EdgeBlock]:
    """The in-edges of those rows in which a weight exceeds the floor.

    Args:
        factors: What meets.
        collector: Has the floor, above zero; it is asked before each block, since it may rise.
        block_bytes: How large a block may be.
    """
    n_spaces, _, n_keys = factors.weighting.shape
    # In float32 the squares of small numbers would be zero.
    size = factors.vectors.norm(dim=-1, dtype=torch.float64).to(factors.vectors.dtype)
    bound = (_SAFETY * size[..., None] * factors.weighting).abs()
    scratch = _Scratch(factors.vectors)
    # Small enough to skip most of what is masked, large enough to multiply well; an even number of products shares out
    # evenly between threads.
    for keys in _blocks(n_keys, _key_bytes(factors), block_bytes, 2 * max(4, -(-n_keys // 32))):
        here = slice(keys.start, keys.stop)
        columns = factors.columns(keys)
        reaches = bound[..., here] * columns.norm(dim=-1).amax(-1)[:, None]
        for space in range(n_spaces):
            least = collector.floor()
            rows = (reaches[space] > least).any(-1).nonzero()[:, 0]
            if not len(rows):
                continue
            product = scratch.product(factors.vectors[space].index_select(0, rows), columns[space])
            weighting = factors.weighting[space, :, here].index_select(0, rows).mT
            smallest, largest = product.aminmax(dim=-1)
            found = torch.maximum(-smallest, largest) * weighting.abs() > least
            places = found.flatten().nonzero()[:, 0]
            weight = product.flatten(0, 1).index_select(0, places)
            weight *= weighting.flatten().index_select(0, places)[:, None]
            key, row = places // len(rows), places % len(rows)
            dest = factors.dest[space].index_select(0, rows.index_select(0, row))
            yield EdgeBlock(dest, keys.start + key, weight)


class _Scratch:
    """The same memory for every block: to claim new memory would take longer than to fill it."""

    def __init__(self, like: Tensor) -> None:
        self._buffer = like.new_empty(0)

    def product(
        self, rows: Float[Tensor, "row d"], columns: Float[Tensor, "key src_comp d"]
    ) -> Float[Tensor, "key row src_comp"]:
        shape = (len(columns), len(rows), columns.shape[1])
        size = shape[0] * shape[1] * shape[2]
        if len(self._buffer) < size:
            self._buffer = self._buffer.new_empty(size)
        out = self._buffer[:size].view(shape)
        return torch.bmm(rows.expand(len(columns), *rows.shape), columns.mT, out=out)


def _key_bytes(factors: EdgeFactors) -> int:
    """What a key takes: its products, or its columns, where those are wider."""
    n_spaces, n_rows, width = factors.vectors.shape
    return factors.vectors.element_size() * factors.n_sources * n_spaces * max(n_rows, width)


def _blocks(n_keys: int, key_bytes: int, block_bytes: int, most: int) -> list[range]:
    """The keys in blocks: of at most so many, and at most so many bytes."""
    size = min(most, max(1, block_bytes // max(1, key_bytes)))
    return [range(start, min(start + size, n_keys)) for start in range(0, n_keys, size)]
