"""MLP rules: how one neuron's output is shared between what made it.

A neuron writes ``post = act(gate) * up`` times its row of ``W_out`` (``up = 1`` in a plain MLP, where ``gate`` is its
only pre-activation). Each rule is an elementwise function that replaces it by a linear one at the cached point,

    post = slopes.gate * gate + slopes.up * up + slopes.remainder ,

and so decides how a direction is pulled back through the MLP. All rules are exact in this sense; they differ in how
much they leave in ``remainder``, which is reported as a source of its own. To add a rule, write such a function and
enter it in :data:`RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from recursive_dla.errors import InputError
from recursive_dla.model.activation_functions import Activation


class NeuronSlopes(NamedTuple):
    """``post = slopes.gate * gate + slopes.up * up + slopes.remainder``, elementwise. ``None`` stands for zero."""

    gate: Float[Tensor, "*batch pos d_mlp"] | None
    up: Float[Tensor, "*batch pos d_mlp"] | None
    remainder: Float[Tensor, "*batch pos d_mlp"] | None


MLPRule = Callable[[Activation, Tensor, "Tensor | None"], NeuronSlopes]


def ratio(act: Activation, gate: Tensor, up: Tensor | None) -> NeuronSlopes:
    """Plain: all through the slope ``act(gate) / gate``. Gated: half through each factor, the other one frozen.

    The halves are the Shapley value of the two factors from a zero baseline. No remainder.
    """
    slope = act.slope(gate)
    if up is None:
        return NeuronSlopes(slope, None, None)
    return NeuronSlopes(0.5 * slope * up, 0.5 * slope * gate, None)


def frozen_gate(act: Activation, gate: Tensor, up: Tensor | None) -> NeuronSlopes:
    """Gated MLPs only: ``act(gate)`` is a constant and all credit goes through ``up``. No remainder."""
    if up is None:
        raise InputError("The rule 'frozen-gate' needs a gated MLP, and this model's is plain. Use rule='ratio'.")
    return NeuronSlopes(None, act.function(gate), None)


def integrated_gradients(act: Activation, gate: Tensor, up: Tensor | None) -> NeuronSlopes:
    """Gradients integrated along the straight line from zero (Sundararajan et al. 2017). No remainder.

    A plain neuron gets its whole output, as with ``ratio``. Of a gated one, ``up`` gets the share
    ``∫₀¹ act(t * gate) dt / act(gate)`` and ``gate`` the rest. With ``act(x) = slope(x) * x`` that share times
    ``act(gate)`` is ``gate * ∫₀¹ t * slope(t * gate) dt``, which has no division; the integral is one Gauss-Legendre
    quadrature.
    """
    if up is None:
        return ratio(act, gate, up)
    nodes, weights = _gauss_legendre(gate)
    mean_slope = torch.zeros_like(gate)
    for t, weight in zip(nodes, weights, strict=True):
        mean_slope += weight * t * act.slope(t * gate)
    return NeuronSlopes((act.slope(gate) - mean_slope) * up, mean_slope * gate, None)


def gradient(act: Activation, gate: Tensor, up: Tensor | None) -> NeuronSlopes:
    """The derivative at the cached point. The remainder is what the tangent misses, and can be large."""
    post = act.function(gate)
    derivative = act.derivative(gate)
    if up is None:
        return NeuronSlopes(derivative, None, post - derivative * gate)
    return NeuronSlopes(derivative * up, post, -derivative * gate * up)


def stop(act: Activation, gate: Tensor, up: Tensor | None) -> NeuronSlopes:
    """The MLP is a leaf: its whole output is remainder."""
    post = act.function(gate)
    return NeuronSlopes(None, None, post if up is None else post * up)


RULES: dict[str, MLPRule] = {
    "ratio": ratio,
    "frozen-gate": frozen_gate,
    "integrated-gradients": integrated_gradients,
    "gradient": gradient,
    "stop": stop,
}
DEFAULT_RULE = "ratio"


def rule_named(name: str) -> MLPRule:
    """The rule called ``name``.

    Raises:
        InputError: There is no such rule.
    """
    try:
        return RULES[name]
    except KeyError:
        raise InputError(f"Unknown rule {name!r}. Choose one of {', '.join(map(repr, RULES))}.") from None


def _gauss_legendre(like: Tensor, order: int = 24) -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1]. Order 24 is exact to 1e-12 for SiLU and GELU over |gate| up to about 20."""
    from numpy.polynomial.legendre import leggauss

    nodes, weights = leggauss(order)
    return [(float(x) + 1) / 2 for x in nodes], [float(w) / 2 for w in weights]
