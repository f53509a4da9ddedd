"""The weights of a sweep's edges: every one, or those that can exceed a floor.

An edge into a head is a product of three: its weighting (the pattern over the norm's scale), what is read from the
head's ``z`` at the query, and what the source wrote at the key. The last two meet either in the residual stream (the
first brought back to it by ``W_V``) or in the head's value space (the second brought into it); the result is the same,
and the cheaper way is taken. :mod:`recursive_dla.graphs.products` multiplies them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.components import Components
from recursive_dla.cache.activations import Activations
from recursive_dla.graphs.memory_budget import Memory
from recursive_dla.graphs.products import EdgeBlock, EdgeCollector, EdgeFactors, every_edge, strong_edges
from recursive_dla.graphs.sweep import AtOwnPosition, Destinations, ThroughValues
from recursive_dla.graphs.value_space import ValueSpace


class Sources:
    """What the components wrote, as the edges need it.

    Args:
        cache: A checked cache.
        components: Heads, biases, MLPs and embeddings.
        outputs: Their outputs.
        budget: How much memory the edges may take while they are computed.
    """

    def __init__(
        self,
        cache: Activations,
        components: Components,
        outputs: Float[Tensor, "batch pos src_comp d_model"],
        budget: Memory,
    ) -> None:
        self.outputs = outputs
        self._value_space = ValueSpace(cache, components, outputs, budget.virtual_weights)
        self._block_bytes = budget.block_bytes

    @property
    def n_pos(self) -> int:
        return self.outputs.shape[1]

    def into_heads(self, destinations: Destinations, prompt: int, collector: EdgeCollector) -> Iterator[EdgeBlock]:
        """The in-edges of one layer's heads, for one prompt of the batch; ``collector`` is where they will go."""
        assert isinstance(destinations.reads, ThroughValues)
        products = strong_edges if collector.floor() > 0 else every_edge
        yield from products(self._factors(destinations, destinations.reads, prompt), collector, self._block_bytes)

    def at_own_position(
        self, parts: Sequence[Destinations], prompt: int, collector: EdgeCollector
    ) -> Iterator[EdgeBlock]:
        """The in-edges of several MLPs, or of the logit, as of :meth:`into_heads`.

        Together, since to read what was written takes longer than to multiply it.
        """
        pulled = torch.stack([part.reads.pulled[prompt] for part in parts if isinstance(part.reads, AtOwnPosition)], 1)
        most = max(part.n_sources for part in parts)
        product = torch.bmm(pulled, self.outputs[prompt, :, :most].mT)
        read = (pulled != 0).any(-1)
        for index, part in enumerate(parts):
            pos = read[:, index].nonzero()[:, 0]
            weight = collector.buffer(len(pos), part.n_sources, product)
            torch.index_select(product[:, index, : part.n_sources], 0, pos, out=weight)
            yield EdgeBlock(part.first * self.n_pos + pos, pos, weight)

    def count(self, destinations: Destinations, prompt: int) -> int:
        """How many in-edges of one part of the sweep can be other than zero."""
        n_constants = sum(int(constant[prompt].count_nonzero()) for constant in destinations.constants.values())
        if isinstance(destinations.reads, AtOwnPosition):
            rows = (destinations.reads.pulled[prompt] != 0).any(-1)
        else:
            rows = (destinations.reads.weighting[prompt] != 0) & (destinations.reads.at_z[prompt] != 0).any(-1)[
                ..., None
            ]
        return int(rows.sum()) * destinations.n_sources + n_constants

    def _factors(self, destinations: Destinations, reads: ThroughValues, prompt: int) -> EdgeFactors:
        n_heads, n_pos, d_head = reads.at_z.shape[1:]
        kv_heads, n_sources = len(reads.W_V), destinations.n_sources
        # Queries that nothing reads: of the last layer, say, all but the target's.
        query = (reads.at_z[prompt] != 0).any(-1).any(0).nonzero()[:, 0]
        at_z, weighting = reads.at_z[prompt], reads.weighting[prompt]
        if len(query) < n_pos:
            at_z, weighting = at_z[:, query], weighting[:, query]
        dest = (destinations.first + torch.arange(n_heads, device=query.device))[:, None] * n_pos + query
        # Per source and key, half the queries multiply d_model numbers in the stream; in value space d_head, but first
        # the source is brought there.
        if n_heads * len(query) * (reads.W_V.shape[2] - d_head) <= 2 * kv_heads * d_head * reads.W_V.shape[2]:
            at_z = rearrange(at_z, "(kv group) query d_head -> kv query group d_head", kv=kv_heads)
            vectors = einsum(at_z, reads.W_V, "kv query group d_head, kv d_head d_model -> query kv group d_model")
            return EdgeFactors(
                rearrange(vectors, "query kv group d_model -> 1 (query kv group) d_model"),
                rearrange(weighting, "head query key -> 1 (query head) key"),
                rearrange(dest, "head query -> 1 (query head)"),
                query.repeat_interleave(n_heads),
                n_sources,
                lambda keys: self.outputs[prompt, None, keys.start : keys.stop, :n_sources],
            )
        return EdgeFactors(
            rearrange(at_z, "(kv group) query d_head -> kv (query group) d_head", kv=kv_heads),
            rearrange(weighting, "(kv group) query key -> kv (query group) key", kv=kv_heads),
            rearrange(dest, "(kv group) query -> kv (query group)", kv=kv_heads),
            query.repeat_interleave(n_heads // kv_heads),
            n_sources,
            self._value_space.of(reads.W_V, n_sources, prompt),
        )
