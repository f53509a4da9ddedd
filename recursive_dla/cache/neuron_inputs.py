"""What each sublayer worked with, from the cache: norm scales, pre-activations of neurons, the routing of experts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.pullback import apply_norm
from recursive_dla.cache.activation_cache import ActivationCache
from recursive_dla.errors import CacheError
from recursive_dla.model.weights import MLP, Layer, Norm, Router, is_half


class NeuronInputs(NamedTuple):
    """One bank's pre-activations, and how much of its output the position gets (``None``: all of it)."""

    pre: Float[Tensor, "batch pos d_mlp"]
    pre_linear: Float[Tensor, "batch pos d_mlp"] | None
    routing: Float[Tensor, "batch pos"] | None


def ensure_same_place(cache: ActivationCache) -> None:
    """Refuse activations that cannot be multiplied with the model's weights, as after either was moved or converted.

    Raises:
        CacheError: They are on another device, or in another precision.
    """
    embed, weights = cache.batched("embed"), cache.weights
    if embed.device != weights.device:
        raise CacheError(
            f"The cache is on {embed.device} and the model on {weights.device}. "
            f"Move one: cache.to({str(weights.device)!r})."
        )
    needed = torch.float32 if is_half(weights.dtype) else weights.dtype
    if embed.dtype != needed:
        raise CacheError(
            f"The cache is to be computed with in {embed.dtype} and the model in {needed}. Run the model again, in the"
            " precision that it has now."
        )


def norm_scale(cache: ActivationCache, norm: Norm | None) -> Float[Tensor, "batch pos 1"]:
    """The cached scale of a norm; one everywhere if there is no norm."""
    embed = cache.batched("embed")
    if norm is None:
        return embed.new_ones((*embed.shape[:2], 1))
    name = f"{norm.module}.hook_scale"
    scale = cache.batched(name)
    if scale.numel() != embed[..., 0].numel():
        raise CacheError(
            f"{name} must have one value for each of {embed.shape[0]} prompts and {embed.shape[1]} positions. It has"
            f" shape {tuple(scale.shape)}; cache and model must come from the same forward pass."
        )
    # OPT computes some norms with batch and position flattened together.
    return scale.reshape(*embed.shape[:2], 1)


def mlp_stream(cache: ActivationCache, index: int, layer: Layer) -> Float[Tensor, "batch pos d_model"]:
    """The residual stream that a layer's MLP reads."""
    return cache.batched("resid_pre" if layer.parallel else "resid_mid", index)


def neuron_inputs(cache: ActivationCache, index: int, layer: Layer) -> list[NeuronInputs]:
    """The pre-activations of each bank of a layer's neurons, at every position.

    As cached, where the MLP has one bank. Those of experts are not cached, and are computed from the stream.
    """
    mlp = layer.mlp
    assert mlp is not None
    if mlp.router is None:
        return [
            NeuronInputs(cache.batched("pre", index), cache.batched("pre_linear", index) if mlp.gated else None, None)
        ]
    read = apply_norm(mlp_stream(cache, index, layer), mlp.norm, norm_scale(cache, mlp.norm))
    if mlp.norm is not None and mlp.norm.bias is not None:
        read = read + mlp.norm.bias
    indices = cache.batched(f"blocks.{index}.mlp.hook_expert_indices").reshape(*read.shape[:2], -1)
    routing = _routing(read, mlp.router, indices)
    return [_expert_inputs(read, mlp, bank, routing[..., bank]) for bank in range(len(mlp.banks))]


def _expert_inputs(read: Tensor, mlp: MLP, index: int, routing: Tensor) -> NeuronInputs:
    bank = mlp.banks[index]
    assert bank.W_gate is not None
    return NeuronInputs(read @ bank.W_gate, read @ bank.W_in, routing)


def _routing(read: Tensor, router: Router, indices: Tensor) -> Float[Tensor, "batch pos bank"]:
    """Each bank's share: zero for experts that were not chosen. The choice is the cached one, ties and all."""
    probabilities = (read @ router.W.mT).softmax(-1, dtype=torch.promote_types(read.dtype, torch.float32))
    chosen = probabilities.gather(-1, indices)
    if router.normalises:
        chosen = chosen / chosen.sum(-1, keepdim=True)
    routing = torch.zeros_like(probabilities).scatter(-1, indices, chosen).to(read.dtype)
    if router.shared is None:
        return routing
    return torch.cat([routing, torch.sigmoid(read @ router.shared)[..., None]], dim=-1)
