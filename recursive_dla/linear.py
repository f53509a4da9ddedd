"""Pulling a direction back through a frozen norm, a head's OV circuit, an MLP: each with the constant it leaves.

With attention patterns, norm scales and neuron slopes held at their cached values, every part of the model between two
points of the residual stream is affine. A direction ``g`` that reads its output therefore becomes a direction that
reads its input, plus a constant::

    g · (J x + c) = (J^T g) · x + g · c

Nothing here knows positions or layers; shapes are whatever comes, with ``d_model`` last. Notation: DESIGN, section 2,
after Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits" (their ``W_V W_O`` is written row-vector
style here).
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from recursive_dla.activations import activation
from recursive_dla.adapters import MLP, Norm
from recursive_dla.rules import NeuronRule, Rule


def apply_norm(x: Float[Tensor, "*any d_model"], norm: Norm, scale: Tensor) -> Float[Tensor, "*any d_model"]:
    """The linear part of a frozen norm, ``weight ⊙ (C x) / scale``: its bias is not added.

    ``scale`` is the cached one and must broadcast against ``x``. Applied to pieces that sum to the residual stream, the
    results sum to the normalised stream less the bias.
    """
    if norm.centers:
        x = x - x.mean(-1, keepdim=True)
    x = x / scale
    return x if norm.weight is None else x * norm.weight


def pull_back_norm(g: Float[Tensor, "*any d_model"], norm: Norm) -> Float[Tensor, "*any d_model"]:
    """``C^T (weight ⊙ g)``: a direction behind the norm as one before it, still to be divided by the scale."""
    if norm.weight is not None:
        g = g * norm.weight
    return g - g.mean(-1, keepdim=True) if norm.centers else g


def linearise_mlp(mlp: MLP, rule: Rule, pre: Tensor, pre_linear: Tensor | None) -> NeuronRule:
    """The neurons' slopes under ``rule``, from the cached pre-activations (``pre_linear`` for gated MLPs)."""
    return rule(activation(mlp.activation), pre, pre_linear)


def pull_back_mlp(
    g: Float[Tensor, "*any d_model"], mlp: MLP, neurons: NeuronRule
) -> tuple[Float[Tensor, "*any d_model"], dict[str, Float[Tensor, "*any"]]]:
    """A direction reading an MLP's output, as one reading its normalised input, and the constants by name.

    The constants are those of the MLP itself (``b_in``, ``b_gate``, ``b_out``, ``remainder``) and of the norm before it
    (``ln2.b``), each in the units of ``g``; those that the model or the rule does not have are left out.
    """
    at_neurons = g @ mlp.W_out.mT
    constants = {}
    pulled = None
    # Of a gated MLP, `gate` goes through W_gate and `up` through W_in; a plain one has its only pre-activation in W_in.
    gate_weights = (mlp.W_in, mlp.b_in, "b_in") if mlp.W_gate is None else (mlp.W_gate, mlp.b_gate, "b_gate")
    for slope, (weight, bias, name) in (
        (neurons.gate_slope, gate_weights),
        (neurons.up_slope, (mlp.W_in, mlp.b_in, "b_in")),
    ):
        if slope is None:
            continue
        at_pre = at_neurons * slope
        through = at_pre @ weight.mT
        pulled = through if pulled is None else pulled + through
        if bias is not None:
            constants[name] = at_pre @ bias
    if pulled is None:
        pulled = g.new_zeros(()).expand_as(g)
    elif mlp.norm.bias is not None:
        constants["ln2.b"] = pulled @ mlp.norm.bias
    if mlp.b_out is not None:
        constants["b_out"] = g @ mlp.b_out
    if neurons.remainder is not None:
        constants["remainder"] = (at_neurons * neurons.remainder).sum(-1)
    return pulled, constants
