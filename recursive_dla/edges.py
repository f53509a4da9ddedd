"""The weights of a sweep's edges, computed in blocks and only where they can exceed a floor.

An edge into a head is a product of three: its weighting (the pattern over the norm's scale), what is read from the
head's ``z`` at the query, and what the source wrote at the key. The last two meet either in the residual stream (the
first brought back to it by ``W_V``) or in the head's value space (the second brought into it); the result is the same,
and the cheaper way is taken. Before a block is multiplied out, the Cauchy-Schwarz inequality bounds what can be in it:
queries that reach the floor with no key of the block are left out, which is most of them in long prompts. Nothing that
exceeds the floor is lost. With a floor of zero, what is left out is what attention masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from recursive_dla.cache import ActivationCache
from recursive_dla.components import Components
from recursive_dla.recursion import OwnPosition, Swept, ThroughValues
from recursive_dla.values import ValueSpace

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


class Sources:
    """What the components wrote, as the edges need it.

    Args:
        cache: A checked cache.
        components: Heads, biases, MLPs and embeddings.
        outputs: Their outputs.
        block_bytes: How large a block of edges may be.
    """

    def __init__(
        self,
        cache: ActivationCache,
        components: Components,
        outputs: Float[Tensor, "batch pos src_comp d_model"],
        block_bytes: int,
    ) -> None:
        self.outputs = outputs
        self._value_space = ValueSpace(cache, components, outputs)
        self._block_bytes = block_bytes
        self._buffer = outputs.new_empty(0)

    @property
    def n_pos(self) -> int:
        return self.outputs.shape[1]

    def fans(self, swept: Swept, prompt: int, floor: Callable[[], float]) -> Iterator[Fans]:
        """The in-edges of one part of the sweep, for one prompt.

        Args:
            swept: The destinations.
            prompt: Its place in the batch.
            floor: The absolute weight that edges of interest exceed; asked before each block, since it may rise.
        """
        if isinstance(swept.reads, OwnPosition):
            yield self._own_position(swept, swept.reads, prompt)
        else:
            yield from self._through_values(swept, swept.reads, prompt, floor)

    def count(self, swept: Swept, prompt: int) -> int:
        """How many in-edges of one part of the sweep can be other than zero."""
        n_constants = sum(int(constant[prompt].count_nonzero()) for constant in swept.constants.values())
        if isinstance(swept.reads, OwnPosition):
            fans = (swept.reads.pulled[prompt] != 0).any(-1)
        else:
            fans = (swept.reads.weighting[prompt] != 0) & (swept.reads.at_z[prompt] != 0).any(-1)[..., None]
        return int(fans.sum()) * swept.n_sources + n_constants

    def _own_position(self, swept: Swept, reads: OwnPosition, prompt: int) -> Fans:
        pulled = reads.pulled[prompt]
        pos = (pulled != 0).any(-1).nonzero()[:, 0]
        sources = self.outputs[prompt, :, : swept.n_sources]
        if len(pos) < len(pulled):
            pulled, sources = pulled[pos], sources[pos]
        weight = torch.bmm(pulled[:, None], sources.mT)[:, 0]
        return Fans(swept.first * self.n_pos + pos, pos, weight)

    def _through_values(
        self, swept: Swept, reads: ThroughValues, prompt: int, floor: Callable[[], float]
    ) -> Iterator[Fans]:
        kv_heads = len(reads.W_V)
        at_z = rearrange(reads.at_z[prompt], "(kv group) query d_head -> kv (group query) d_head", kv=kv_heads)
        weighting = rearrange(reads.weighting[prompt], "(kv group) query key -> kv (group query) key", kv=kv_heads)
        n_heads = len(reads.at_z[prompt])
        dest = (swept.first + torch.arange(n_heads, device=at_z.device))[:, None] * self.n_pos
        dest = rearrange(
            dest + torch.arange(self.n_pos, device=at_z.device), "(kv group) query -> kv (group query)", kv=kv_heads
        )
        # In the stream, rows are as many numbers as d_model is wide; in value space, every source is brought there.
        if at_z.shape[1] <= at_z.shape[2]:
            rows = einsum(at_z, reads.W_V, "kv row d_head, kv d_head d_model -> kv row d_model").flatten(0, 1)
            of_stream = _Rows(rows, weighting.flatten(0, 1), dest.flatten())
            for keys in self._blocks(swept.n_sources, len(rows)):
                columns = self.outputs[prompt, keys.start : keys.stop, : swept.n_sources]
                yield from self._block(of_stream, columns, keys, floor())
            return
        of_values = [_Rows(*parts) for parts in zip(at_z, weighting, dest, strict=True)]
        values = self._value_space.of(reads.W_V, swept.n_sources, prompt)
        for keys in self._blocks(swept.n_sources, at_z.shape[1]):
            for rows_of_head, columns in zip(of_values, values(keys), strict=True):
                yield from self._block(rows_of_head, columns, keys, floor())

    def _block(
        self, rows: _Rows, columns: Float[Tensor, "key src_comp d"], keys: range, floor: float
    ) -> Iterator[Fans]:
        bound = rows.bound[:, keys.start : keys.stop]
        if floor > 0:
            bound = bound * columns.norm(dim=-1).amax(-1)
        chosen = (bound > floor).any(-1).nonzero()[:, 0]
        if not len(chosen):
            return
        product = self._product(rows.vectors.index_select(0, chosen), columns)
        weighting = rows.weighting[:, keys.start : keys.stop].index_select(0, chosen).mT
        if floor > 0:
            smallest, largest = product.aminmax(dim=-1)
            found = torch.maximum(-smallest, largest) * weighting.abs() > floor
        else:
            found = weighting != 0
        places = found.flatten().nonzero()[:, 0]
        weight = product.flatten(0, 1).index_select(0, places)
        weight *= weighting.flatten().index_select(0, places)[:, None]
        key, row = places // len(chosen), places % len(chosen)
        yield Fans(rows.dest.index_select(0, chosen.index_select(0, row)), keys.start + key, weight)

    def _product(
        self, rows: Float[Tensor, "row d"], columns: Float[Tensor, "key src_comp d"]
    ) -> Float[Tensor, "key row src_comp"]:
        """Into the same memory for every block: to claim new memory would take longer than to fill it."""
        shape = (len(columns), len(rows), columns.shape[1])
        size = shape[0] * shape[1] * shape[2]
        if len(self._buffer) < size:
            self._buffer = self._buffer.new_empty(size)
        out = self._buffer[:size].view(shape)
        return torch.bmm(rows.expand(len(columns), *rows.shape), columns.mT, out=out)

    def _blocks(self, n_sources: int, n_rows: int) -> list[range]:
        """The keys in blocks, small enough to skip most of what is masked, large enough to multiply well."""
        row_bytes = self.outputs.element_size() * n_sources * n_rows
        most = max(1, self._block_bytes // max(1, row_bytes))
        # An even number of products shares out evenly between threads.
        size = min(most, 2 * max(4, -(-self.n_pos // 32)))
        return [range(start, min(start + size, self.n_pos)) for start in range(0, self.n_pos, size)]


class _Rows:
    """What is read, for heads and queries, in the space where it meets its sources. A weight of a source of length one
    is within ``bound``.
    """

    def __init__(
        self, vectors: Float[Tensor, "row d"], weighting: Float[Tensor, "row key"], dest: Int[Tensor, " row"]
    ) -> None:
        self.vectors = vectors
        self.weighting = weighting
        self.dest = dest
        # In float32 the squares of small numbers would be zero.
        size = vectors.norm(dim=-1, dtype=torch.float64).to(vectors.dtype)
        self.bound = (_SAFETY * size[:, None] * weighting).abs()
