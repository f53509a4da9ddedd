"""Does every node of a sweep get what it gives? What flows into each destination, against its attribution.

All in-edges of a destination together are what it reads from the sum of their sources, so no edge is needed to know.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.components import Components
from recursive_dla.graphs.sweep import AtOwnPosition, Destinations


class Balance:
    """The largest imbalance of the parts of a sweep that were added.

    Args:
        components: Heads, biases, MLPs and embeddings.
        outputs: Their outputs.
    """

    def __init__(self, components: Components, outputs: Float[Tensor, "batch pos src_comp d_model"]) -> None:
        counts = sorted({*components.before_attention, *components.before_mlp, len(components)})
        streams = outputs.new_empty(len(counts), *outputs[:, :, 0].shape)
        for stream, (start, stop) in zip(streams, pairwise([0, *counts]), strict=True):
            torch.sum(outputs[:, :, start:stop], dim=2, out=stream)
        self._streams = dict(zip(counts, streams.cumsum_(0), strict=True))
        self._imbalance: list[Float[Tensor, "batch dest dest_pos"]] = []
        self._attribution: list[Float[Tensor, "batch dest dest_pos"]] = []

    def add(self, destinations: Destinations) -> None:
        """Take one part of the sweep."""
        self._imbalance.append(
            sum(destinations.constants.values(), self._read(destinations)) - destinations.attribution
        )
        self._attribution.append(destinations.attribution)

    def _read(self, destinations: Destinations) -> Float[Tensor, "batch dest dest_pos"]:
        stream, reads = self._streams[destinations.n_sources], destinations.reads
        if isinstance(reads, AtOwnPosition):
            return torch.linalg.vecdot(reads.pulled, stream)[:, None]
        values = einsum(stream, reads.W_V, "b key d_model, kv d_head d_model -> b kv key d_head")
        weighting = rearrange(reads.weighting, "b (kv group) query key -> b kv (group query) key", kv=values.shape[1])
        read = rearrange(
            weighting @ values, "b kv (group query) d_head -> b (kv group) query d_head", query=reads.at_z.shape[2]
        )
        return torch.linalg.vecdot(reads.at_z, read)

    def errors(self) -> list[float]:
        """For each prompt ``|Σ in-edges + constants − attribution|`` of the worst node, relative to the largest."""
        worst, largest = (
            torch.cat(parts, dim=1).abs().flatten(1).amax(1) for parts in (self._imbalance, self._attribution)
        )
        return (worst / largest.clamp_min(torch.finfo(worst.dtype).tiny)).tolist()
