"""What an MLP's neurons worked with, and what they put out: pre-activations, the routing of experts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache.activations import Activations
from recursive_dla.cache.norms import norm_output
from recursive_dla.model.activation_functions import activation
from recursive_dla.model.weights import MLP, Layer, Router


class NeuronInputs(NamedTuple):
    """One bank's pre-activations, and how much of its output the position gets (``None``: all of it)."""

    pre: Float[Tensor, "batch pos d_mlp"]
    pre_linear: Float[Tensor, "batch pos d_mlp"] | None
    routing: Float[Tensor, "batch pos"] | None


def mlp_stream(cache: Activations, index: int, layer: Layer) -> Float[Tensor, "batch pos d_model"]:
    """The residual stream that a layer's MLP reads."""
    return cache.batched("resid_pre" if layer.parallel else "resid_mid", index)


def neuron_inputs(cache: Activations, index: int, layer: Layer) -> list[NeuronInputs]:
    """The pre-activations of each bank of a layer's neurons, at every position.

    As cached, where the MLP has one bank. Those of experts are not cached, and are computed from the stream.
    """
    mlp = layer.mlp
    assert mlp is not None
    if mlp.router is None:
        return [
            NeuronInputs(cache.batched("pre", index), cache.batched("pre_linear", index) if mlp.gated else None, None)
        ]
    read = norm_output(mlp_stream(cache, index, layer), mlp.norm, cache.norm_scale(mlp.norm))
    indices = cache.batched(f"blocks.{index}.mlp.hook_expert_indices").reshape(*read.shape[:2], -1)
    routing = _routing(read, mlp.router, indices)
    return [_expert_inputs(read, mlp, bank, routing[..., bank]) for bank in range(len(mlp.banks))]


def neuron_outputs(mlp: MLP, inputs: NeuronInputs) -> Float[Tensor, "*any d_mlp"]:
    """What each neuron of a bank multiplies its row of ``W_out`` by."""
    post = activation(mlp.activation).function(inputs.pre)
    if inputs.pre_linear is not None:
        post = post * inputs.pre_linear
    return post if inputs.routing is None else post * inputs.routing[..., None]


def at_places(inputs: list[NeuronInputs], *places: Tensor | slice) -> list[NeuronInputs]:
    """Pre-activations and routing at some prompts and positions, an index for each of the two axes."""
    return [NeuronInputs._make(None if part is None else part[places] for part in bank) for bank in inputs]


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
