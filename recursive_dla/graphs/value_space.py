"""What components wrote, in the value space of a later layer's heads: ``W_V o_c[key]``, norms folded into ``W_V``.

Of a head ``o = z W_O``, so its values are ``z (W_O W_V)``. In long prompts it pays to multiply the weights of every
pair of heads first (the virtual weights of Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"),
since ``z`` is much narrower than what the head wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.components import Components
from recursive_dla.cache.activations import Activations
from recursive_dla.cache.norms import apply_norm
from recursive_dla.model.weights import ModelWeights

Values = Callable[[range], Float[Tensor, "kv_head key src_comp d_head"]]


def virtual_weights_bytes(weights: ModelWeights, n_prompts: int, n_pos: int, element_size: int) -> int:
    """The memory that virtual weights take, with what they are made of; zero for prompts too short for them to pay."""
    if not _virtual_weights_pay(weights, n_pos):
        return 0
    kv_heads = weights.layers[0].attention.W_V.shape[0]
    numbers_of_head = (
        weights.d_head * (weights.d_model + kv_heads * weights.d_head) + n_prompts * n_pos * weights.d_head
    )
    return weights.n_layers * weights.n_heads * numbers_of_head * element_size


def _virtual_weights_pay(weights: ModelWeights, n_pos: int) -> bool:
    return n_pos * (weights.d_model - weights.d_head) > weights.d_head * weights.d_model


class ValueSpace:
    """Brings sources into the value spaces of heads.

    Args:
        cache: A checked cache.
        components: Heads, biases, MLPs and embeddings.
        outputs: Their outputs.
        virtual_weights: Whether there is memory for them (:func:`virtual_weights_bytes`).
    """

    def __init__(
        self,
        cache: Activations,
        components: Components,
        outputs: Float[Tensor, "batch pos src_comp d_model"],
        virtual_weights: bool = True,
    ) -> None:
        self._cache = cache
        self._components = components
        self._outputs = outputs
        self._virtual = virtual_weights and _virtual_weights_pay(cache.weights, outputs.shape[1])

    def of(self, W_V: Float[Tensor, "kv_head d_head d_model"], n_sources: int, prompt: int) -> Values:
        """The first ``n_sources`` components in the value spaces of one layer's heads, as a function of the keys."""
        outputs = self._outputs[prompt, :, :n_sources]
        n_heads = self._cache.weights.n_heads * self._layers_before(n_sources)
        if n_heads and self._virtual:
            return self._by_virtual_weights(W_V, outputs, prompt, n_heads)
        return lambda keys: einsum(
            outputs[keys.start : keys.stop], W_V, "key c d_model, kv d_head d_model -> kv key c d_head"
        )

    def _layers_before(self, n_sources: int) -> int:
        return max(component.layer for component in self._components.all[:n_sources]) + 1

    def _by_virtual_weights(self, W_V: Tensor, outputs: Tensor, prompt: int, n_heads: int) -> Values:
        virtual = einsum(
            self._W_O[:n_heads], W_V, "head d_head d_model, kv d_value d_model -> head d_head kv d_value"
        ).flatten(2)
        kinds = [component.kind for component in self._components.all[: outputs.shape[1]]]
        of_heads = torch.tensor([place for place, kind in enumerate(kinds) if kind == "head"], device=W_V.device)
        of_others = torch.tensor([place for place, kind in enumerate(kinds) if kind != "head"], device=W_V.device)
        others = outputs[:, of_others]

        def values(keys: range) -> Tensor:
            here = slice(keys.start, keys.stop)
            found = outputs.new_empty(outputs.shape[1], len(keys), virtual.shape[2])
            found[of_heads] = torch.bmm(self._z[prompt, :n_heads, here], virtual)
            found[of_others] = einsum(others[here], W_V, "key c d_model, kv d_head d_model -> c key kv d_head").flatten(
                2
            )
            return rearrange(found, "c key (kv d_head) -> kv key c d_head", kv=len(W_V))

        return values

    @cached_property
    def _z(self) -> Float[Tensor, "batch head pos d_head"]:
        """``z`` of every head, over the scale of the norm after the attention."""
        n_pos = self._outputs.shape[1]
        parts = []
        for index, layer in enumerate(self._cache.weights.layers):
            z = self._cache.batched("z", index)[:, :n_pos]
            if layer.attention.out_norm is not None:
                z = z / self._cache.norm_scale(layer.attention.out_norm)[:, :n_pos, None]
            parts.append(rearrange(z, "b pos head d_head -> b head pos d_head"))
        return torch.cat(parts, dim=1)

    @cached_property
    def _W_O(self) -> Float[Tensor, "head d_head d_model"]:
        """``W_O`` of every head, with the weight of the norm after the attention."""
        one = self._outputs.new_ones(())
        return torch.cat(
            [apply_norm(layer.attention.W_O, layer.attention.out_norm, one) for layer in self._cache.weights.layers]
        )
