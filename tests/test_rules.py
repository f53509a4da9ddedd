"""MLP rules and activation functions, neuron by neuron."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import act, act_derivative, apply_rule, assert_close
from torch import Tensor

from recursive_dla.attribution.mlp_rules import DEFAULT_RULE, RULES, NeuronSlopes, rule_named
from recursive_dla.errors import InputError, UnsupportedModelError
from recursive_dla.model.activation_functions import ACTIVATIONS, activation

NAMES = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_bloom", "quick_gelu", "silu", "swish", "relu")
RULE_NAMES = ("ratio", "frozen-gate", "integrated-gradients", "gradient", "stop")
PLAIN_RULES = tuple(rule for rule in RULE_NAMES if rule != "frozen-gate")


def neurons(seed: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(5, 23, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_form(rule: NeuronSlopes, gate: Tensor, up: Tensor | None) -> Tensor:
    """What a rule says a neuron's output is."""
    total = torch.zeros_like(gate)
    for slope, factor in ((rule.gate, gate), (rule.up, up), (rule.remainder, torch.ones_like(gate))):
        if slope is not None:
            total = total + slope * factor
    return total


def test_the_rules_and_the_default() -> None:
    assert tuple(RULES) == RULE_NAMES
    assert DEFAULT_RULE == "ratio"
    assert tuple(ACTIVATIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_activations_their_slopes_and_derivatives(name: str) -> None:
    x = neurons(1)
    assert_close(activation(name).function(x), act(name, x))
    assert_close(activation(name).slope(x), act(name, x) / x)
    assert_close(activation(name).derivative(x), act_derivative(name, x))


@pytest.mark.parametrize("name", NAMES)
def test_slopes_are_finite_at_zero_and_far_away(name: str) -> None:
    slopes = activation(name).slope(torch.tensor([-1e4, -1e-30, 0.0, 1e-30, 1e4]))
    expected = [0.0, 0.0, 0.0, 1.0, 1.0] if name == "relu" else [0.0, 0.5, 0.5, 0.5, 1.0]
    assert_close(slopes, expected)


@pytest.mark.parametrize("rule", RULE_NAMES)
@pytest.mark.parametrize("name", ["gelu", "gelu_new", "silu", "relu"])
def test_gated_neurons_against_the_formulas(name: str, rule: str) -> None:
    gate, up = neurons(2), neurons(3)
    ours, plain = RULES[rule](activation(name), gate, up), apply_rule(rule, name, gate, up)
    for part, expected in zip(ours, plain, strict=True):
        if expected.any():
            assert_close(part, expected)
        else:
            assert part is None or not part.any()


@pytest.mark.parametrize("rule", PLAIN_RULES)
@pytest.mark.parametrize("name", NAMES)
def test_plain_neurons_against_the_formulas(name: str, rule: str) -> None:
    gate = neurons(4)
    ours, plain = RULES[rule](activation(name), gate, None), apply_rule(rule, name, gate, None)
    assert ours.up is None
    assert_close(torch.zeros_like(gate) + 1 if ours.gate is None else ours.gate + 1, plain.gate_slope + 1)
    assert_close(torch.zeros_like(gate) + 1 if ours.remainder is None else ours.remainder + 1, plain.remainder + 1)


@given(
    st.sampled_from(NAMES),
    st.sampled_from(RULE_NAMES),
    st.lists(st.tuples(st.floats(-15, 15), st.floats(-15, 15)), min_size=1, max_size=7),
)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_every_rule_gives_the_neurons_output(name: str, rule: str, values: list[tuple[float, float]]) -> None:
    gate, up = torch.tensor(values, dtype=torch.float64).T
    for factor in (up, None):
        if factor is None and rule == "frozen-gate":
            continue
        post = act(name, gate) * (1 if factor is None else factor)
        found = linear_form(RULES[rule](activation(name), gate, factor), gate, factor)
        assert (found - post).abs().max() <= 1e-10 * (1 + (gate.abs() * (1 if factor is None else factor.abs())).max())


def test_ratio_is_the_shapley_value_of_the_two_factors() -> None:
    gate, up = neurons(5), neurons(6)

    def value(players: set[str]) -> Tensor:
        return act("silu", gate if "gate" in players else 0 * gate) * (up if "up" in players else 0 * up)

    shares = {"gate": torch.zeros_like(gate), "up": torch.zeros_like(gate)}
    for order in permutations(shares):
        for place, player in enumerate(order):
            shares[player] += (value({*order[: place + 1]}) - value({*order[:place]})) / 2
    rule = RULES["ratio"](activation("silu"), gate, up)
    assert_close(rule.gate * gate, shares["gate"])
    assert_close(rule.up * up, shares["up"])


def test_frozen_gate_needs_a_gate() -> None:
    with pytest.raises(InputError, match="'frozen-gate' needs a gated MLP, and this model's is plain"):
        RULES["frozen-gate"](activation("gelu"), neurons(7), None)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(InputError, match=r"Unknown rule 'lrp'\. Choose one of 'ratio', 'frozen-gate'"):
        rule_named("lrp")
    with pytest.raises(UnsupportedModelError, match=r"'solu' is not supported\. Supported: gelu, gelu_new"):
        activation("solu")
