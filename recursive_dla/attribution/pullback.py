"""The heart: a direction pulled back through the model, from what it reads to what that was made of.

With norm scales, neuron slopes and what attention rules hold kept at their cached values, every part of the model
between two points of the residual stream is affine. A direction ``g`` that reads its output therefore becomes a
direction that reads its input, plus constants::

    g · (J x + c) = (J^T g) · x + g · c

1. A norm:  ``C^T (w ⊙ g) / s``  (:func:`recursive_dla.cache.norms.pull_back_norm`).
2. A head:  ``r = W_O^T g`` reads its ``z``; what that reads of values, queries and keys is the attention rule's
   (:mod:`recursive_dla.attribution.attention_rules`); ``W_V`` brings it back to the stream.
3. An MLP, or some of its neurons:  slopes by an MLP rule (:mod:`recursive_dla.attribution.mlp_rules`).
4. All layers:  ``walk``, from the top down, the one walk of graphs, trees and rankings.

Shapes are whatever comes, with ``d_model`` last. Notation: docs/math.md, after Elhage et al. 2021, "A Mathematical
Framework for Transformer Circuits" (their ``W_V W_O`` is written row-vector style here).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from recursive_dla.attribution.attention_rules import AttentionRule, frozen
from recursive_dla.attribution.mlp_rules import MLPRule, NeuronSlopes
from recursive_dla.cache.activations import Activations
from recursive_dla.cache.neuron_inputs import NeuronInputs, at_places, neuron_inputs
from recursive_dla.cache.norms import pull_back_norm
from recursive_dla.model.activation_functions import activation
from recursive_dla.model.weights import MLP, Attention, NeuronBank, Norm, per_query_head, summed_by_kv_head

# --- heads -----------------------------------------------------------------------------------------------------------


def at_z(g: Float[Tensor, "*any d_model"], attention: Attention) -> Float[Tensor, "*any head d_head"]:
    """What reads the attention's output, before any norm after it, as what reads each head's ``z``: ``W_O^T g``."""
    return einsum(g, attention.W_O, "... d_model, head d_head d_model -> ... head d_head")


def through_values(at_values: Float[Tensor, "*any head d_head"], attention: Attention) -> Float[Tensor, "*any d_model"]:
    """What reads the values of all heads together, as what reads the normalised stream: ``Σ_h W_V r_h``."""
    return through_weight(summed_by_kv_head(at_values, len(attention.W_V)), attention.W_V)


def through_weight(
    at_vectors: Float[Tensor, "*any head d_head"], weight: Float[Tensor, "head d_model d_head"]
) -> Float[Tensor, "*any d_model"]:
    """Back through ``W_V``, ``W_Q`` or ``W_K``, to what reads the normalised stream, over all heads."""
    return einsum(at_vectors, weight, "... head d_head, head d_model d_head -> ... d_model")


def each_through_values(
    at_values: Float[Tensor, "*any head d_head"], attention: Attention
) -> Float[Tensor, "*any head d_model"]:
    """:func:`through_values` of each head apart: ``W_V r_h``."""
    grouped = rearrange(at_values, "... (kv group) d_head -> ... kv group d_head", kv=len(attention.W_V))
    pulled = einsum(grouped, attention.W_V, "... kv group d_head, kv d_model d_head -> ... kv group d_model")
    return rearrange(pulled, "... kv group d_model -> ... (kv group) d_model")


def value_constants(
    at_z: Float[Tensor, "*any head d_head"], attended: Float[Tensor, "*any head"], attention: Attention
) -> dict[str, Float[Tensor, "*any head"]]:
    """What heads give whatever they read: the shares of ``b_V`` and of the bias of the norm before the attention.

    Args:
        at_z: What reads each head's ``z``.
        attended: How much attention its query gives in all: one, but for rows that are masked.
        attention: The weights.
    """
    constants = {}
    if attention.b_V is not None:
        constants["b_V"] = attended * _dot_per_head(at_z, attention.b_V)
    norm = attention.norm
    if norm is not None and norm.bias is not None:
        constants[f"{norm.name}.b"] = attended * _dot_per_head(at_z, norm.bias @ attention.W_V)
    return constants


def _dot_per_head(at_z: Tensor, values: Float[Tensor, "kv_head d_head"]) -> Float[Tensor, "*any head"]:
    of_heads = per_query_head(values, at_z.shape[-2])
    return einsum(at_z, of_heads, "... head d_head, head d_head -> ... head")


# --- MLPs ------------------------------------------------------------------------------------------------------------


def neuron_slopes(mlp: MLP, rule: MLPRule, inputs: Sequence[NeuronInputs]) -> list[NeuronSlopes]:
    """The slopes of every bank's neurons under a rule. Routing between experts is held at its cached value."""
    act = activation(mlp.activation)
    found = []
    for pre, pre_linear, routing in inputs:
        slopes = rule(act, pre, pre_linear)
        if routing is not None:
            slopes = NeuronSlopes(*(None if part is None else part * routing[..., None] for part in slopes))
        found.append(slopes)
    return found


class _InputPath(NamedTuple):
    """One way into neurons: its slope, the weights and bias of the pre-activation, and the bias's name."""

    slope: Float[Tensor, "*any neuron"]
    weight: Float[Tensor, "d_model neuron"]
    bias: Float[Tensor, " neuron"] | None
    bias_name: str


def _input_paths(bank: NeuronBank, slopes: NeuronSlopes) -> Iterator[_InputPath]:
    # Of gated neurons, `gate` comes through W_gate and `up` through W_in; plain ones have their only input in W_in.
    if slopes.gate is not None and bank.W_gate is not None:
        yield _InputPath(slopes.gate, bank.W_gate, bank.b_gate, "b_gate")
    elif slopes.gate is not None:
        yield _InputPath(slopes.gate, bank.W_in, bank.b_in, "b_in")
    if slopes.up is not None:
        yield _InputPath(slopes.up, bank.W_in, bank.b_in, "b_in")


def pull_back_mlp(
    g: Float[Tensor, "*any d_model"], mlp: MLP, slopes: Sequence[NeuronSlopes]
) -> tuple[Float[Tensor, "*any d_model"], dict[str, Float[Tensor, "*any"]]]:
    """A direction reading an MLP's output, before any norm after it, as one reading its normalised input.

    Also the constants by name: those of the MLP (``b_in``, ``b_gate``, ``b_out``, ``remainder``) and of the norm before
    it (``ln2.b``), each in the units of ``g``; those that the model or the rule does not have are left out.
    """
    constants: dict[str, Tensor] = {}
    pulled = None
    for bank, found in zip(mlp.banks, slopes, strict=True):
        at_neurons = g @ bank.W_out.mT
        for path in _input_paths(bank, found):
            at_pre = at_neurons * path.slope
            through = at_pre @ path.weight.mT
            pulled = through if pulled is None else pulled + through
            if path.bias is not None:
                _add(constants, path.bias_name, at_pre @ path.bias)
        if found.remainder is not None:
            _add(constants, "remainder", (at_neurons * found.remainder).sum(-1))
    if mlp.b_out is not None:
        _add(constants, "b_out", g @ mlp.b_out)
    if pulled is None:
        return g.new_zeros(()).expand_as(g), constants
    return pulled, constants | _norm_constant(pulled, mlp.norm)


def pull_back_neurons(
    at_neurons: Float[Tensor, "*any neuron"],
    bank: NeuronBank,
    which: Int[Tensor, " neuron"],
    slopes: NeuronSlopes,
    norm: Norm | None,
) -> tuple[Float[Tensor, "*any neuron d_model"], dict[str, Float[Tensor, "*any neuron"]]]:
    """:func:`pull_back_mlp` of some neurons of a bank, each apart; ``b_out`` belongs to none of them.

    Args:
        at_neurons: What reads each neuron's output: the direction's dot product with its row of ``W_out``.
        bank: Their weights.
        which: Their places in the bank.
        slopes: Theirs.
        norm: The norm before the MLP.
    """
    constants: dict[str, Tensor] = {}
    pulled = at_neurons.new_zeros((*at_neurons.shape, bank.W_in.shape[0]))
    for path in _input_paths(bank, slopes):
        at_pre = at_neurons * path.slope
        pulled = pulled + at_pre[..., None] * path.weight[:, which].mT
        if path.bias is not None:
            _add(constants, path.bias_name, at_pre * path.bias[which])
    constants |= _norm_constant(pulled, norm)
    if slopes.remainder is not None:
        constants["remainder"] = at_neurons * slopes.remainder
    return pulled, constants


def _norm_constant(pulled: Tensor, norm: Norm | None) -> dict[str, Tensor]:
    """The share of the bias of the norm whose output is read."""
    return {} if norm is None or norm.bias is None else {f"{norm.name}.b": pulled @ norm.bias}


def _add(constants: dict[str, Tensor], name: str, value: Tensor) -> None:
    constants[name] = constants[name] + value if name in constants else value


# --- all layers, from the top down -----------------------------------------------------------------------------------


class MLPStep(NamedTuple):
    """The walk at a layer's MLP.

    Attributes:
        layer: Which.
        g: What reads its output.
        pulled: What that reads of the stream before it, through the MLP.
        constants: By name, what it gives whatever it reads.
    """

    layer: int
    g: Float[Tensor, "batch pos d_model"]
    pulled: Float[Tensor, "batch pos d_model"]
    constants: dict[str, Float[Tensor, "batch pos"]]


class HeadsStep(NamedTuple):
    """The walk at a layer's heads.

    Attributes:
        layer: Which.
        g: What reads what they write.
        at_z: What that reads of each head's ``z``.
        pulled: What it reads of the stream before the attention, through all heads.
    """

    layer: int
    g: Float[Tensor, "batch pos d_model"]
    at_z: Float[Tensor, "batch pos head d_head"]
    pulled: Float[Tensor, "batch pos d_model"]


class EmbeddingsStep(NamedTuple):
    """The end of the walk: what reads the stream that enters the first layer."""

    g: Float[Tensor, "batch pos d_model"]


def walk(
    cache: Activations,
    g: Float[Tensor, "batch pos d_model"],
    layer: int,
    mlp_rule: MLPRule,
    attention_rule: AttentionRule = frozen,
) -> Iterator[MLPStep | HeadsStep | EmbeddingsStep]:
    """Pull directions back through every layer, and say at each what reads it, over all paths.

    Where several components read the same one, their directions add up: at every step ``g`` is what the target reads
    from that output at each position, directly and through everything above it.

    Args:
        cache: A checked cache.
        g: What is read from the stream that enters ``layer``, at the first positions of each prompt: as many as can
            reach the target.
        layer: Where to start; ``n_layers`` for the stream that leaves the last.
        mlp_rule: How MLPs are made linear.
        attention_rule: What heads read of values, queries and keys.
    """
    here = slice(g.shape[1])
    for index in reversed(range(layer)):
        block = cache.weights.layers[index]
        through_mlp: Tensor | float = 0.0
        if block.mlp is not None:
            inputs = at_places(neuron_inputs(cache, index, block), slice(None), here)
            at_output = pull_back_norm(g, block.mlp.out_norm, cache.norm_scale(block.mlp.out_norm)[:, here])
            at_input, constants = pull_back_mlp(at_output, block.mlp, neuron_slopes(block.mlp, mlp_rule, inputs))
            through_mlp = pull_back_norm(at_input, block.mlp.norm, cache.norm_scale(block.mlp.norm)[:, here])
            yield MLPStep(index, g, through_mlp, constants)
        # The heads of a parallel block are read by what reads its MLP, but not by the MLP itself.
        at_heads = g if block.parallel else g + through_mlp
        attention = block.attention
        at_output = pull_back_norm(at_heads, attention.out_norm, cache.norm_scale(attention.out_norm)[:, here])
        reads = at_z(at_output, attention)
        read = attention_rule(cache, index, block, reads)
        at_input = through_values(read.at_values, attention)
        if read.at_queries is not None:
            at_input = at_input + through_weight(read.at_queries, block.scores.W_Q)
        if read.at_keys is not None:
            at_input = at_input + through_weight(read.at_keys, block.scores.W_K)
        through_heads = pull_back_norm(at_input, attention.norm, cache.norm_scale(attention.norm)[:, here])
        yield HeadsStep(index, at_heads, reads, through_heads)
        g = g + through_mlp + through_heads
    yield EmbeddingsStep(g)
