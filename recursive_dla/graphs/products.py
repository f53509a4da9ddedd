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


class Fans(NamedTuple):
    """In-edges of destinations from every source at one position each; some weights may not exceed the floor.

    Attributes:
        dest: Place and position of each fan's destination, as ``place * n_pos + pos``.
        src_pos: The position of each fan's sources.
        weight: From the first sources on; logits.
    """

    dest: Int[Tensor, " fan"]
    src_pos: Int[Tensor, " fan"]
    weight: Float[Tensor, "fan src_comp"]


@runtime_checkable
class Keeper(Protocol):
    """Where edges go (:mod:`recursive_dla.graphs.collectors`)."""

    def floor(self) -> float:
        """The absolute weight that an edge must exceed to be kept."""

    def room(self, n_fans: int, n_sources: int, like: Tensor) -> Float[Tensor, "fan src_comp"]:
        """Memory for the weights of the next fans, which are to be handed over before more is asked for."""


class Meeting(NamedTuple):
    """What the heads of a layer read, and how what was written comes to meet it.

    A row is a head at a query; rows are sorted by query. The weight of a row's edge from source ``c`` at ``key`` is
    ``weighting[row, key] · vectors[row] · columns[key, c]``. A space is the residual stream, where all heads meet their
    sources, or one value space of several.

    Attributes:
        dest: As in :class:`Fans`.
        columns: From a range of keys.
    """

    vectors: Float[Tensor, "space row d"]
    weighting: Float[Tensor, "space row key"]
    dest: Int[Tensor, "space row"]
    query: Int[Tensor, " row"]
    n_sources: int
    columns: Callable[[range], Float[Tensor, "space key src_comp d"]]


def every_edge(meeting: Meeting, keeper: Keeper, block_bytes: int) -> Iterator[Fans]:
    """All in-edges from no later position. Of windows and padding, some are zero.

    Args:
        meeting: What meets.
        keeper: Gives the memory for them.
        block_bytes: How large a block may be.
    """
    n_spaces, n_rows, _ = meeting.vectors.shape
    n_keys = meeting.weighting.shape[2]
    by_key = meeting.weighting.permute(2, 0, 1)
    first = torch.searchsorted(meeting.query, torch.arange(n_keys, device=meeting.query.device)).tolist()
    for keys in _blocks(n_keys, _key_bytes(meeting), block_bytes, n_keys):
        sizes = [n_spaces * (n_rows - first[key]) for key in keys]
        weight = keeper.room(sum(sizes), meeting.n_sources, meeting.vectors)
        columns = meeting.columns(keys).mT.unbind(1)
        for key, column, part in zip(keys, columns, weight.split(sizes), strict=True):
            torch.bmm(meeting.vectors[:, first[key] :], column, out=part.view(n_spaces, -1, meeting.n_sources))
        at = torch.arange(keys.start, keys.stop, device=meeting.query.device)
        attends = (meeting.query >= at[:, None])[:, None].expand(-1, n_spaces, -1)
        place = attends.flatten().nonzero()[:, 0]
        weight *= by_key[keys.start : keys.stop].flatten().index_select(0, place)[:, None]
        dest = meeting.dest.flatten().index_select(0, place % (n_spaces * n_rows))
        yield Fans(dest, keys.start + place // (n_spaces * n_rows), weight)


def strong_edges(meeting: Meeting, keeper: Keeper, block_bytes: int) -> Iterator[Fans]:
    """The in-edges of those fans in which a weight exceeds the floor.

    Args:
        meeting: What meets.
        keeper: Has the floor, above zero; it is asked before each block, since it may rise.
        block_bytes: How large a block may be.
    """
    n_spaces, _, n_keys = meeting.weighting.shape
    # In float32 the squares of small numbers would be zero.
    size = meeting.vectors.norm(dim=-1, dtype=torch.float64).to(meeting.vectors.dtype)
    bound = (_SAFETY * size[..., None] * meeting.weighting).abs()
    scratch = _Scratch(meeting.vectors)
    # Small enough to skip most of what is masked, large enough to multiply well; an even number of products shares out
    # evenly between threads.
    for keys in _blocks(n_keys, _key_bytes(meeting), block_bytes, 2 * max(4, -(-n_keys // 32))):
        here = slice(keys.start, keys.stop)
        columns = meeting.columns(keys)
        reaches = bound[..., here] * columns.norm(dim=-1).amax(-1)[:, None]
        for space in range(n_spaces):
            least = keeper.floor()
            rows = (reaches[space] > least).any(-1).nonzero()[:, 0]
            if not len(rows):
                continue
            product = scratch.product(meeting.vectors[space].index_select(0, rows), columns[space])
            weighting = meeting.weighting[space, :, here].index_select(0, rows).mT
            smallest, largest = product.aminmax(dim=-1)
            found = torch.maximum(-smallest, largest) * weighting.abs() > least
            places = found.flatten().nonzero()[:, 0]
            weight = product.flatten(0, 1).index_select(0, places)
            weight *= weighting.flatten().index_select(0, places)[:, None]
            key, row = places // len(rows), places % len(rows)
            dest = meeting.dest[space].index_select(0, rows.index_select(0, row))
            yield Fans(dest, keys.start + key, weight)


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


def _key_bytes(meeting: Meeting) -> int:
    """What a key takes: its products, or its columns, where those are wider."""
    n_spaces, n_rows, width = meeting.vectors.shape
    return meeting.vectors.element_size() * meeting.n_sources * n_spaces * max(n_rows, width)


def _blocks(n_keys: int, key_bytes: int, block_bytes: int, most: int) -> list[range]:
    """The keys in blocks: of at most so many, and at most so many bytes."""
    size = min(most, max(1, block_bytes // max(1, key_bytes)))
    return [range(start, min(start + size, n_keys)) for start in range(0, n_keys, size)]
