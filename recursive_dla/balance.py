"""Does every node of a sweep get what it gives? What flows into each destination, against its attribution.

All in-edges of a destination together are what it reads from the sum of their sources, so no edge is needed to know.
"""

from __future__ import annotations

import torch
from einops import einsum, repeat
from jaxtyping import Float
from torch import Tensor

from recursive_dla.components import Components
from recursive_dla.recursion import OwnPosition, Swept


class Balance:
    """The largest imbalance of the parts of a sweep that were added.

    Args:
        components: Heads, biases, MLPs and embeddings.
        outputs: Their outputs.
    """

    def __init__(self, components: Components, outputs: Float[Tensor, "batch pos src_comp d_model"]) -> None:
        counts = sorted({*components.before_attention, *components.before_mlp, len(components)})
        # One product instead of a sum for each point of the stream.
        written = torch.arange(len(components)) < torch.tensor(counts)[:, None]
        streams = einsum(written.to(outputs), outputs, "point src_comp, b pos src_comp d_model -> point b pos d_model")
        self._streams = dict(zip(counts, streams, strict=True))
        self._worst = self._largest = outputs.new_zeros(len(outputs))

    def add(self, swept: Swept) -> None:
        """Take one part of the sweep."""
        into = sum(swept.constants.values(), self._read(swept))
        self._worst = torch.maximum(self._worst, (into - swept.attribution).abs().flatten(1).amax(1))
        self._largest = torch.maximum(self._largest, swept.attribution.abs().flatten(1).amax(1))

    def _read(self, swept: Swept) -> Float[Tensor, "batch dest dest_pos"]:
        stream, reads = self._streams[swept.n_sources], swept.reads
        if isinstance(reads, OwnPosition):
            return (reads.pulled * stream).sum(-1)[:, None]
        values = einsum(stream, reads.W_V, "b key d_model, kv d_head d_model -> b kv key d_head")
        values = repeat(values, "b kv key d -> b (kv group) key d", group=reads.at_z.shape[1] // values.shape[1])
        read = einsum(reads.weighting, values, "b head query key, b head key d_head -> b head query d_head")
        return (reads.at_z * read).sum(-1)

    def errors(self) -> list[float]:
        """For each prompt ``|Σ in-edges + constants − attribution|`` of the worst node, relative to the largest."""
        return (self._worst / self._largest.clamp_min(torch.finfo(self._worst.dtype).tiny)).tolist()
