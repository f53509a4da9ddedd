"""The sweep: a logit traced back through every path at once, to the token embeddings.

1. Start with the target's direction at its position, zero elsewhere: ``g [batch pos d_model]``, what the answer reads
   from the residual stream at each position, directly or through what was written later.
2. From the top layer down, the MLP, then the heads: a component's attribution is ``g · output``. Pull ``g`` back
   through it (:mod:`recursive_dla.attribution.pullback`) to get what the answer reads, through this component, from the stream before
   it: that gives the weights of its in-edges (:mod:`recursive_dla.graphs.edges`), and is added to ``g``.
3. What is left at the embeddings is theirs.

Since every component is replaced by an affine map with the same value, the result is a flow: for every component at
every position, Σ in-edges + constants = attribution = Σ out-edges, and the leaves sum to the logit. The network of
edges follows Elhage et al. 2021 with norms frozen; credit through MLPs is by a rule of :mod:`recursive_dla.attribution.mlp_rules`.

Nothing flows into positions after the target's, so the sweep sees none of them: the causal cone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.components import Components
from recursive_dla.attribution.mlp_rules import Rule
from recursive_dla.attribution.pullback import linearise_mlp, pull_back_mlp, pull_back_norm
from recursive_dla.attribution.targets import Target
from recursive_dla.cache.activation_cache import ActivationCache
from recursive_dla.cache.neuron_inputs import NeuronInputs, neuron_inputs, norm_scale
from recursive_dla.model.weights import Attention, Norm


class OwnPosition(NamedTuple):
    """What a destination reads at its own position: ``weight of c = pulled · o_c``."""

    pulled: Float[Tensor, "batch dest_pos d_model"]


class ThroughValues(NamedTuple):
    """What heads read: ``weight of (c, key) = weighting[query, key] · at_z[query] · (W_V o_c[key])``.

    ``weighting`` is the pattern over the norm's scale at the key, and the norm's weight is in ``W_V``.
    """

    at_z: Float[Tensor, "batch head query d_head"]
    weighting: Float[Tensor, "batch head query key"]
    W_V: Float[Tensor, "kv_head d_head d_model"]


class Swept(NamedTuple):
    """One layer's heads, its MLP, or the logit, as the destinations of a sweep's edges.

    Attributes:
        kind: ``"logit"``, ``"mlp"`` or ``"head"``.
        layer: The layer; ``n_layers`` for the logit.
        first: The place of the first destination among the components; ``len(components)`` for the logit.
        n_sources: How many components were written before, from the first.
        attribution: Of each destination, at the positions from the first; logits.
        constants: By name, on the same axes.
        reads: What they read, from which their in-edges follow.
    """

    kind: str
    layer: int
    first: int
    n_sources: int
    attribution: Float[Tensor, "batch dest dest_pos"]
    constants: dict[str, Float[Tensor, "batch dest dest_pos"]]
    reads: OwnPosition | ThroughValues


class Leaves(NamedTuple):
    """Attributions of the components that read nothing: embeddings and attention biases, by place; ``[batch pos]``
    each.
    """

    attribution: dict[int, Float[Tensor, "batch pos"]]


def cone(target: Target) -> int:
    """How many positions, from the first, the target can depend on."""
    return int(target.pos.max()) + 1


@torch.no_grad()
def sweep(
    cache: ActivationCache,
    target: Target,
    components: Components,
    outputs: Float[Tensor, "batch pos src_comp d_model"],
    rule: Rule,
) -> Iterator[Swept | Leaves]:
    """Yield the logit, then each layer's MLP and heads from the top down, and at last the leaves.

    Args:
        cache: A checked cache.
        target: What is explained, one number for each prompt: its first token.
        components: Heads, biases, MLPs and embeddings (:func:`recursive_dla.attribution.components.head_components`).
        outputs: Their outputs, at the positions of the target's :func:`cone`.
        rule: How MLPs are made linear.
    """
    weights = cache.weights
    g = torch.zeros_like(outputs[:, :, 0])
    g[torch.arange(len(g), device=g.device), target.pos] = target.direction[:, 0]
    leaves: dict[int, Tensor] = {}
    yield _logit(target, components, g)
    for index in reversed(range(target.layer)):
        layer = weights.layers[index]
        pulled: Tensor | float = 0.0
        if layer.mlp is not None:
            pulled, swept = _mlp(cache, index, g, components, outputs, rule)
            yield swept
        # The heads of a parallel block are read by what reads its MLP, but not by the MLP itself.
        at_heads = g if layer.parallel else g + pulled
        if layer.attention.b_O is not None:
            place = components.before_attention[index] + weights.n_heads
            leaves[place] = _dot(at_heads, outputs[:, :, place])
        through_heads, swept = _heads(cache, index, at_heads, components)
        yield swept
        g = g + pulled + through_heads
    for place, component in enumerate(components.all):
        if component.layer < 0:
            leaves[place] = _dot(g, outputs[:, :, place])
    yield Leaves(leaves)


def _logit(target: Target, components: Components, g: Tensor) -> Swept:
    n_layers = len(components.before_attention)

    def at_target(number: Float[Tensor, "batch token"]) -> Float[Tensor, "batch 1 pos"]:
        spread = torch.zeros_like(g[:, None, :, 0])
        spread[torch.arange(len(g), device=g.device), 0, target.pos] = number[:, 0].to(g.dtype)
        return spread

    return Swept(
        kind="logit",
        layer=n_layers,
        first=len(components),
        n_sources=len(components) if target.layer == n_layers else components.before_attention[target.layer],
        attribution=at_target(target.value),
        constants={name: at_target(constant) for name, constant in target.constants.items()},
        reads=OwnPosition(g),
    )


def _mlp(
    cache: ActivationCache, index: int, g: Tensor, components: Components, outputs: Tensor, rule: Rule
) -> tuple[Float[Tensor, "batch pos d_model"], Swept]:
    """One layer's MLP: what it pulls back, and what it reads."""
    layer = cache.weights.layers[index]
    mlp = layer.mlp
    assert mlp is not None
    place = components.mlp_places[index]
    here = slice(g.shape[1])
    inputs = [
        NeuronInputs._make(None if part is None else part[:, here] for part in bank)
        for bank in neuron_inputs(cache, index, layer)
    ]
    at_output = _before(g, mlp.out_norm, cache)
    pulled, constants = pull_back_mlp(at_output, mlp, linearise_mlp(mlp, rule, inputs))
    pulled = _before(pulled, mlp.norm, cache)
    return pulled, Swept(
        kind="mlp",
        layer=index,
        first=place,
        n_sources=components.before_mlp[index],
        attribution=_dot(g, outputs[:, :, place])[:, None],
        constants={name: constant[:, None] for name, constant in constants.items()},
        reads=OwnPosition(pulled),
    )


def _heads(
    cache: ActivationCache, index: int, g: Tensor, components: Components
) -> tuple[Float[Tensor, "batch pos d_model"], Swept]:
    """One layer's heads: what they pull back in all, and what they read."""
    attention = cache.weights.layers[index].attention
    norm = attention.norm
    here = slice(g.shape[1])
    pattern = cache.batched("pattern", index)[..., here, here]
    z = cache.batched("z", index)[:, here]
    scale = norm_scale(cache, norm)[:, here]
    place = components.before_attention[index]
    at_z = einsum(
        _before(g, attention.out_norm, cache),
        attention.W_O,
        "b query d_model, head d_head d_model -> b head query d_head",
    )
    constants = {}
    from_norm = None if norm is None or norm.bias is None else norm.bias @ attention.W_V
    if attention.b_V is not None or from_norm is not None:
        attended = pattern.sum(-1)
        if attention.b_V is not None:
            constants["b_V"] = attended * _through_bias(at_z, attention.b_V)
        if norm is not None and from_norm is not None:
            constants[f"{norm.name}.b"] = attended * _through_bias(at_z, from_norm)
    read_at_key = einsum(pattern, at_z, "b head query key, b head query d_head -> b head key d_head")
    swept = Swept(
        kind="head",
        layer=index,
        first=place,
        n_sources=place,
        attribution=einsum(at_z, z, "b head query d_head, b query head d_head -> b head query"),
        constants=constants,
        reads=ThroughValues(
            at_z,
            pattern / rearrange(scale, "b key 1 -> b 1 1 key"),
            pull_back_norm(rearrange(attention.W_V, "kv d_model d_head -> kv d_head d_model"), norm),
        ),
    )
    return pull_back_norm(_to_stream(read_at_key, attention), norm) / scale, swept


def _before(g: Float[Tensor, "batch pos d_model"], norm: Norm | None, cache: ActivationCache) -> Tensor:
    """What reads a norm's output, as what reads its input."""
    return g if norm is None else pull_back_norm(g, norm) / norm_scale(cache, norm)[:, : g.shape[1]]


def _to_stream(
    at_values: Float[Tensor, "batch head pos d_head"], attention: Attention
) -> Float[Tensor, "batch pos d_model"]:
    grouped = rearrange(at_values, "b (kv group) pos d_head -> b kv group pos d_head", kv=attention.W_V.shape[0]).sum(2)
    return einsum(grouped, attention.W_V, "b kv pos d_head, kv d_model d_head -> b pos d_model")


def _through_bias(at_z: Tensor, bias: Float[Tensor, "kv_head d_head"]) -> Float[Tensor, "batch head query"]:
    of_heads = bias.repeat_interleave(at_z.shape[1] // bias.shape[0], dim=0)
    return einsum(at_z, of_heads, "b head query d_head, head d_head -> b head query")


def _dot(g: Tensor, output: Tensor) -> Float[Tensor, "batch pos"]:
    return (g * output).sum(-1)
