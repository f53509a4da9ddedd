"""The sweep: a logit traced back through every path at once, to the token embeddings.

1. Start with the target's direction at its position, zero elsewhere: ``g [batch pos d_model]``, what the answer reads
   from the residual stream at each position, directly or through what was written later.
2. Walk down from the top layer (:func:`recursive_dla.attribution.pullback.walk`): a component's attribution is
   ``g · output``. What ``g`` becomes before the component is what the answer reads, through it, from the stream: that
   gives the weights of its in-edges (:mod:`recursive_dla.graphs.edges`), and is added to ``g``.
3. What is left at the embeddings is theirs.

Since every component is replaced by an affine map with the same value, the result is a flow: for every component at
every position, Σ in-edges + constants = attribution = Σ out-edges, and the leaves sum to the logit. The network of
edges follows Elhage et al. 2021 with norms frozen; credit through MLPs is by a rule of
:mod:`recursive_dla.attribution.mlp_rules`.

Nothing flows into positions after the target's, so the sweep sees none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.components import Components
from recursive_dla.attribution.mlp_rules import MLPRule
from recursive_dla.attribution.pullback import HeadsStep, MLPStep, value_constants, walk
from recursive_dla.attribution.targets import Target
from recursive_dla.cache.activations import Activations
from recursive_dla.cache.norms import pull_back_norm


class AtOwnPosition(NamedTuple):
    """What a destination reads at its own position: ``weight of c = pulled · o_c``."""

    pulled: Float[Tensor, "batch dest_pos d_model"]


class ThroughValues(NamedTuple):
    """What heads read: ``weight of (c, key) = weighting[query, key] · at_z[query] · (W_V o_c[key])``.

    ``weighting`` is the pattern over the norm's scale at the key, and the norm's weight is in ``W_V``.
    """

    at_z: Float[Tensor, "batch head query d_head"]
    weighting: Float[Tensor, "batch head query key"]
    W_V: Float[Tensor, "kv_head d_head d_model"]


class Destinations(NamedTuple):
    """One layer's heads, its MLP, or the logit: where edges lead to.

    Attributes:
        kind: ``"logit"``, ``"mlp"`` or ``"head"``.
        layer: The layer; ``n_layers`` for the logit.
        first: The place of the first of them among the components; ``len(components)`` for the logit.
        n_sources: How many components were written before, from the first.
        attribution: Of each, at the positions from the first; logits.
        constants: By name, on the same axes.
        reads: What they read, from which their in-edges follow.
    """

    kind: str
    layer: int
    first: int
    n_sources: int
    attribution: Float[Tensor, "batch dest dest_pos"]
    constants: dict[str, Float[Tensor, "batch dest dest_pos"]]
    reads: AtOwnPosition | ThroughValues


class Leaves(NamedTuple):
    """Attributions of the components that read nothing: embeddings and attention biases, by place; ``[batch pos]``
    each.
    """

    attribution: dict[int, Float[Tensor, "batch pos"]]


@torch.no_grad()
def sweep(
    cache: Activations,
    target: Target,
    components: Components,
    outputs: Float[Tensor, "batch pos src_comp d_model"],
    rule: MLPRule,
) -> Iterator[Destinations | Leaves]:
    """Yield the logit, then each layer's MLP and heads from the top down, and at last the leaves.

    Args:
        cache: A checked cache.
        target: What is explained, one number for each prompt: its first token.
        components: Heads, biases, MLPs and embeddings (:func:`recursive_dla.attribution.components.head_components`).
        outputs: Their outputs, at the target's ``n_pos`` first positions.
        rule: How MLPs are made linear.
    """
    g = torch.zeros_like(outputs[:, :, 0])
    g[torch.arange(len(g), device=g.device), target.pos] = target.direction[:, 0]
    leaves: dict[int, Tensor] = {}
    yield _logit(target, components, g)
    for step in walk(cache, g, target.layer, rule):
        if isinstance(step, MLPStep):
            yield _mlp(step, components, outputs)
        elif isinstance(step, HeadsStep):
            if cache.weights.stored_layers[step.layer].attention.b_O is not None:
                place = components.before_attention[step.layer] + cache.weights.n_heads
                leaves[place] = _dot(step.g, outputs[:, :, place])
            yield _heads(cache, step, components)
        else:
            for place, component in enumerate(components.all):
                if component.layer < 0:
                    leaves[place] = _dot(step.g, outputs[:, :, place])
    yield Leaves(leaves)


def _logit(target: Target, components: Components, g: Tensor) -> Destinations:
    n_layers = len(components.before_attention)

    def at_target(number: Float[Tensor, "batch token"]) -> Float[Tensor, "batch 1 pos"]:
        spread = torch.zeros_like(g[:, None, :, 0])
        spread[torch.arange(len(g), device=g.device), 0, target.pos] = number[:, 0].to(g.dtype)
        return spread

    return Destinations(
        kind="logit",
        layer=n_layers,
        first=len(components),
        n_sources=len(components) if target.layer == n_layers else components.before_attention[target.layer],
        attribution=at_target(target.value),
        constants={name: at_target(constant) for name, constant in target.constants.items()},
        reads=AtOwnPosition(g),
    )


def _mlp(step: MLPStep, components: Components, outputs: Tensor) -> Destinations:
    place = components.mlp_places[step.layer]
    return Destinations(
        kind="mlp",
        layer=step.layer,
        first=place,
        n_sources=components.before_mlp[step.layer],
        attribution=_dot(step.g, outputs[:, :, place])[:, None],
        constants={name: constant[:, None] for name, constant in step.constants.items()},
        reads=AtOwnPosition(step.pulled),
    )


def _heads(cache: Activations, step: HeadsStep, components: Components) -> Destinations:
    attention = cache.weights.layers[step.layer].attention
    here = slice(step.g.shape[1])
    pattern = cache.batched("pattern", step.layer)[..., here, here]
    z = cache.batched("z", step.layer)[:, here]
    attended = rearrange(pattern.sum(-1), "b head query -> b query head")
    constants = value_constants(step.at_z, attended, attention)
    place = components.before_attention[step.layer]
    return Destinations(
        kind="head",
        layer=step.layer,
        first=place,
        n_sources=place,
        attribution=einsum(step.at_z, z, "b query head d_head, b query head d_head -> b head query"),
        constants={name: rearrange(each, "b query head -> b head query") for name, each in constants.items()},
        reads=ThroughValues(
            rearrange(step.at_z, "b query head d_head -> b head query d_head"),
            pattern / rearrange(cache.norm_scale(attention.norm)[:, here], "b key 1 -> b 1 1 key"),
            pull_back_norm(rearrange(attention.W_V, "kv d_model d_head -> kv d_head d_model"), attention.norm),
        ),
    )


def _dot(g: Tensor, output: Tensor) -> Float[Tensor, "batch pos"]:
    return (g * output).sum(-1)
