"""Pulling a direction back through a frozen norm, a head's OV circuit, an MLP: each with the constant it leaves.

With attention patterns, norm scales and neuron slopes held at their cached values, every part of the model between two
points of the residual stream is affine. A direction ``g`` that reads its output therefore becomes a direction that
reads its input, plus a constant::

    g · (J x + c) = (J^T g) · x + g · c

Nothing here knows positions or layers; shapes are whatever comes, with ``d_model`` last. Notation: docs/math.md,
after Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits" (their ``W_V W_O`` is written row-vector
style here).
"""

from __future__ import annotations

from collections.abc import Sequence

from einops import einsum
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.mlp_rules import NeuronRule, Rule
from recursive_dla.model.activation_functions import activation
from recursive_dla.model.weights import MLP, Attention, Norm


def apply_norm(x: Float[Tensor, "*any d_model"], norm: Norm | None, scale: Tensor) -> Float[Tensor, "*any d_model"]:
    """The linear part of a frozen norm, ``weight ⊙ (C x) / scale``: its bias is not added.

    ``scale`` is the cached one and must broadcast against ``x``. Applied to pieces that sum to the residual stream, the
    results sum to the normalised stream less the bias. Without a norm, ``x`` as it is.
    """
    if norm is None:
        return x
    if norm.centers:
        x = x - x.mean(-1, keepdim=True)
    x = x / scale
    return x if norm.weight is None else x * norm.weight


def pull_back_norm(g: Float[Tensor, "*any d_model"], norm: Norm | None) -> Float[Tensor, "*any d_model"]:
    """``C^T (weight ⊙ g)``: a direction behind the norm as one before it, still to be divided by the scale."""
    if norm is None:
        return g
    if norm.weight is not None:
        g = g * norm.weight
    return g - g.mean(-1, keepdim=True) if norm.centers else g


def head_results(
    z: Float[Tensor, "*any head d_head"], attention: Attention, out_scale: Tensor
) -> Float[Tensor, "head *any d_model"]:
    """What each head writes to the residual stream: ``z W_O``, through the norm after the attention if there is one."""
    results = einsum(z, attention.W_O, "... head d_head, head d_head d_model -> head ... d_model")
    return apply_norm(results, attention.out_norm, out_scale)


def linearise_mlp(
    mlp: MLP, rule: Rule, inputs: Sequence[tuple[Tensor, Tensor | None, Tensor | None]]
) -> list[NeuronRule]:
    """The slopes of every bank's neurons under ``rule``.

    Args:
        mlp: The MLP.
        rule: One of :mod:`recursive_dla.attribution.mlp_rules`.
        inputs: For each bank its pre-activations, those of its linear half if it is gated, and its routing weights
            (:class:`recursive_dla.cache.neuron_inputs.NeuronInputs`). Routing is held at its cached value.
    """
    act = activation(mlp.activation)
    neurons = []
    for pre, pre_linear, routing in inputs:
        found = rule(act, pre, pre_linear)
        if routing is not None:
            found = NeuronRule(*(None if part is None else part * routing[..., None] for part in found))
        neurons.append(found)
    return neurons


def pull_back_mlp(
    g: Float[Tensor, "*any d_model"], mlp: MLP, neurons: Sequence[NeuronRule]
) -> tuple[Float[Tensor, "*any d_model"], dict[str, Float[Tensor, "*any"]]]:
    """A direction reading an MLP's output, before any norm after it, as one reading its normalised input.

    Also the constants by name: those of the MLP (``b_in``, ``b_gate``, ``b_out``, ``remainder``) and of the norm before
    it (``ln2.b``), each in the units of ``g``; those that the model or the rule does not have are left out.
    """
    constants: dict[str, Tensor] = {}
    pulled = None

    def add(name: str, value: Tensor) -> None:
        constants[name] = constants[name] + value if name in constants else value

    for bank, found in zip(mlp.banks, neurons, strict=True):
        at_neurons = g @ bank.W_out.mT
        # Of gated neurons, `gate` comes through W_gate and `up` through W_in; plain ones have their only input in W_in.
        gate = (bank.W_in, bank.b_in, "b_in") if bank.W_gate is None else (bank.W_gate, bank.b_gate, "b_gate")
        for slope, (weight, bias, name) in ((found.gate_slope, gate), (found.up_slope, (bank.W_in, bank.b_in, "b_in"))):
            if slope is None:
                continue
            at_pre = at_neurons * slope
            through = at_pre @ weight.mT
            pulled = through if pulled is None else pulled + through
            if bias is not None:
                add(name, at_pre @ bias)
        if found.remainder is not None:
            add("remainder", (at_neurons * found.remainder).sum(-1))
    if mlp.b_out is not None:
        add("b_out", g @ mlp.b_out)
    if pulled is None:
        pulled = g.new_zeros(()).expand_as(g)
    elif mlp.norm is not None and mlp.norm.bias is not None:
        add(f"{mlp.norm.name}.b", pulled @ mlp.norm.bias)
    return pulled, constants
