"""The sweep: a logit traced back through every path at once, to the token embeddings.

1. Start with the target's direction at its position, zero elsewhere: ``g [batch pos d_model]``, what the answer reads
   from the residual stream at each position, directly or through what was written later.
2. From the top layer down, the MLP, then the heads: a component's attribution is ``g · output``. Pull ``g`` back
   through it (:mod:`recursive_dla.linear`) to get what the answer reads, through this component, from the stream before
   it; contract that with the outputs of all earlier components for the weights of its in-edges; and add it to ``g``.
3. What is left at the embeddings is theirs.

Since every component is replaced by an affine map with the same value, the result is a flow: for every component at
every position, Σ in-edges + constants = attribution = Σ out-edges, and the leaves sum to the logit. The network of
edges follows Elhage et al. 2021 with norms frozen; credit through MLPs is by a rule of :mod:`recursive_dla.rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache import ActivationCache
from recursive_dla.components import Components
from recursive_dla.inputs import neuron_inputs, norm_scale
from recursive_dla.linear import linearise_mlp, pull_back_mlp, pull_back_norm
from recursive_dla.rules import Rule
from recursive_dla.targets import Target
from recursive_dla.weights import Attention


class EdgeBlock(NamedTuple):
    """Edges of one layer's destinations at ``dest_pos`` from all components written before.

    Attributes:
        dest_pos: The positions of the destinations.
        src_pos: The positions of the sources; ``None`` if each destination reads its own position only.
        weight: ``[batch dest dest_pos src_comp src_pos]``, or ``[batch dest dest_pos src_comp]`` where ``src_pos`` is
            None.
    """

    dest_pos: range
    src_pos: range | None
    weight: Tensor


class Swept(NamedTuple):
    """One layer's heads, its MLP, or the logit, as the destinations of a sweep's edges.

    Attributes:
        kind: ``"logit"``, ``"mlp"`` or ``"head"``.
        layer: The layer; ``n_layers`` for the logit.
        first: The place of the first destination among the components; ``len(components)`` for the logit.
        dest_pos: The positions of the destinations.
        attribution: Of each destination; logits.
        constants: By name, on the same axes.
        edges: Blocks that together hold every edge that can be other than zero.
    """

    kind: str
    layer: int
    first: int
    dest_pos: range
    attribution: Float[Tensor, "batch dest dest_pos"]
    constants: dict[str, Float[Tensor, "batch dest dest_pos"]]
    edges: tuple[EdgeBlock, ...]


class Leaves(NamedTuple):
    """Attributions of the components that read nothing: embeddings and attention biases, by place; ``[batch pos]``
    each.
    """

    attribution: dict[int, Float[Tensor, "batch pos"]]


@torch.no_grad()
def sweep(
    cache: ActivationCache,
    target: Target,
    components: Components,
    outputs: Float[Tensor, "src_comp batch pos d_model"],
    rule: Rule,
) -> Iterator[Swept | Leaves]:
    """Yield the logit, then each layer's MLP and heads from the top down, and at last the leaves.

    Args:
        cache: A checked cache.
        target: What is explained; its first token.
        components: Heads, biases, MLPs and embeddings (:func:`recursive_dla.components.head_components`).
        outputs: Their outputs.
        rule: How MLPs are made linear.
    """
    weights = cache.weights
    g = torch.zeros_like(outputs[0])
    g[:, int(target.pos[0])] = target.direction[:, 0]
    key_blocks = [(keys, outputs[:, :, keys.start : keys.stop].contiguous()) for keys in _blocks(g.shape[1])]
    leaves: dict[int, Tensor] = {}
    yield _logit(target, components, outputs)
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
            leaves[place] = _dot(at_heads, outputs[place])
        through_heads, swept = _heads(cache, index, at_heads, components, key_blocks)
        yield swept
        g = g + pulled + through_heads
    for place, component in enumerate(components.all):
        if component.layer < 0:
            leaves[place] = _dot(g, outputs[place])
    yield Leaves(leaves)


def _logit(target: Target, components: Components, outputs: Tensor) -> Swept:
    pos = int(target.pos[0])
    here = range(pos, pos + 1)
    n_layers = len(components.before_attention)
    written = len(components) if target.layer == n_layers else components.before_attention[target.layer]
    weight = einsum(target.direction[:, 0], outputs[:written, :, pos], "b d_model, src_comp b d_model -> b src_comp")
    return Swept(
        kind="logit",
        layer=n_layers,
        first=len(components),
        dest_pos=here,
        attribution=target.value[:, :1, None],
        constants={name: constant[:, :1, None] for name, constant in target.constants.items()},
        edges=(EdgeBlock(here, None, weight[:, None, None]),),
    )


def _mlp(
    cache: ActivationCache, index: int, g: Tensor, components: Components, outputs: Tensor, rule: Rule
) -> tuple[Float[Tensor, "batch pos d_model"], Swept]:
    """One layer's MLP: what it pulls back, and its edges."""
    layer = cache.weights.layers[index]
    mlp = layer.mlp
    assert mlp is not None
    place = components.mlp_places[index]
    sources = outputs[: components.before_mlp[index]]
    everywhere = range(g.shape[1])
    at_output = pull_back_norm(g, mlp.out_norm) / norm_scale(cache, mlp.out_norm)
    neurons = linearise_mlp(mlp, rule, neuron_inputs(cache, index, layer))
    pulled, constants = pull_back_mlp(at_output, mlp, neurons)
    pulled = pull_back_norm(pulled, mlp.norm) / norm_scale(cache, mlp.norm)
    weight = einsum(pulled, sources, "b pos d_model, src_comp b pos d_model -> b pos src_comp")
    return pulled, Swept(
        kind="mlp",
        layer=index,
        first=place,
        dest_pos=everywhere,
        attribution=_dot(g, outputs[place])[:, None],
        constants={name: constant[:, None] for name, constant in constants.items()},
        edges=(EdgeBlock(everywhere, None, weight[:, None]),),
    )


def _heads(
    cache: ActivationCache, index: int, g: Tensor, components: Components, key_blocks: list[tuple[range, Tensor]]
) -> tuple[Float[Tensor, "batch pos d_model"], Swept]:
    """One layer's heads: what they pull back in all, and their edges."""
    attention = cache.weights.layers[index].attention
    pattern = cache.batched("pattern", index)
    scale = norm_scale(cache, attention.norm)
    g = pull_back_norm(g, attention.out_norm) / norm_scale(cache, attention.out_norm)
    place = components.before_attention[index]
    at_z = einsum(g, attention.W_O, "b query d_model, head d_head d_model -> b head query d_head")
    constants = {}
    attended = pattern.sum(-1)
    if attention.b_V is not None:
        constants["b_V"] = attended * einsum(at_z, _per_head(attention.b_V, at_z), "b h q d_head, h d_head -> b h q")
    if attention.norm is not None and attention.norm.bias is not None:
        from_bias = attention.norm.bias @ attention.W_V
        constants[f"{attention.norm.name}.b"] = attended * einsum(
            at_z, _per_head(from_bias, at_z), "b h q d_head, h d_head -> b h q"
        )
    read_at_key = einsum(pattern, at_z, "b head query key, b head query d_head -> b head key d_head")
    z = cache.batched("z", index)
    swept = Swept(
        kind="head",
        layer=index,
        first=place,
        dest_pos=range(g.shape[1]),
        attribution=einsum(at_z, z, "b head query d_head, b query head d_head -> b head query"),
        constants=constants,
        edges=tuple(
            _head_edges(attention, at_z, pattern, scale, [(keys, sources[:place]) for keys, sources in key_blocks])
        ),
    )
    return pull_back_norm(_through_values(read_at_key, attention), attention.norm) / scale, swept


def _head_edges(
    attention: Attention, at_z: Tensor, pattern: Tensor, scale: Tensor, key_blocks: list[tuple[range, Tensor]]
) -> Iterator[EdgeBlock]:
    """``A[q, k] / s[k] · (what head and query read from z) · W_V^T N o_c[k]`` for every head, query, source and key.

    A key only feeds queries that are not before it, so keys go in blocks, each with the queries from its first key on.
    """
    n_pos = at_z.shape[2]
    kv_heads = attention.W_V.shape[0]
    # Folding the norm into W_V lets sources enter as they were written.
    W_V = pull_back_norm(rearrange(attention.W_V, "kv d_model d_head -> kv d_head d_model"), attention.norm)
    weighting = rearrange(pattern / scale[..., 0][:, None, None], "b (kv group) q k -> b kv group q k", kv=kv_heads)
    grouped = rearrange(at_z, "b (kv group) query d_head -> b kv group query d_head", kv=kv_heads)
    group, d_head = grouped.shape[2], grouped.shape[4]
    # Two orders of the same contraction: pull each (head, query) back to the residual stream, or bring every source
    # into the heads' value space. The first is cheaper for few queries, the second for many.
    pull = group * n_pos <= d_head
    if pull:
        pulled = einsum(grouped, W_V, "b kv group query d_head, kv d_head d_model -> b kv group query d_model")
    for keys, sources in key_blocks:
        queries = range(keys.start, n_pos)
        q, k = slice(queries.start, None), slice(keys.start, keys.stop)
        if pull:
            block = einsum(pulled[..., q, :], sources, "b kv g query d_model, c b key d_model -> b kv g query c key")
        else:
            values = einsum(sources, W_V, "c b key d_model, kv d_head d_model -> b kv d_head c key")
            block = einsum(grouped[..., q, :], values, "b kv g query d_head, b kv d_head c key -> b kv g query c key")
        block *= weighting[..., q, None, k]
        yield EdgeBlock(queries, keys, rearrange(block, "b kv group query c key -> b (kv group) query c key"))


def _blocks(n_pos: int, smallest: int = 5, most: int = 8) -> list[range]:
    """Positions in blocks: small enough to skip most of what lies above the diagonal, large enough to multiply well."""
    size = max(smallest, -(-n_pos // most))
    return [range(start, min(start + size, n_pos)) for start in range(0, n_pos, size)]


def _through_values(
    at_z: Float[Tensor, "batch head pos d_head"], attention: Attention
) -> Float[Tensor, "batch pos d_model"]:
    grouped = rearrange(at_z, "b (kv group) pos d_head -> b kv group pos d_head", kv=attention.W_V.shape[0]).sum(2)
    return einsum(grouped, attention.W_V, "b kv pos d_head, kv d_model d_head -> b pos d_model")


def _per_head(per_kv_head: Tensor, at_z: Tensor) -> Float[Tensor, "head d_head"]:
    return per_kv_head.repeat_interleave(at_z.shape[1] // per_kv_head.shape[0], dim=0)


def _dot(g: Tensor, output: Tensor) -> Float[Tensor, "batch pos"]:
    return (g * output).sum(-1)
