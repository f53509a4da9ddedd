"""Which components matter if they are taken away: a ranking that also credits what made heads attend where they did.

The attribution graph holds attention patterns constant, which makes it exact. But a component that is ablated also
changes the queries and keys of later heads. The ranking sends part of the credit through them, and so no longer adds
up: its scores order components, and are not to be read as logits or mixed with a graph's.

Backward, a head's credit goes to the value side with weight ``value`` (through the pattern, as in the graph) and to its
queries and keys with ``query`` and ``key`` (through the softmax's derivative, with the other side fixed); a gated MLP's
goes through ``gate`` and ``up``. The weights' names and defaults are those of Dual Path Attribution (arXiv 2603.19742).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache import ActivationCache, as_cache
from recursive_dla.checks import ensure_checked
from recursive_dla.errors import InputError, UnsupportedModelError
from recursive_dla.inputs import neuron_inputs, norm_scale
from recursive_dla.linear import linearise_mlp, pull_back_mlp, pull_back_norm
from recursive_dla.rules import NeuronRule
from recursive_dla.targets import Answers, Positions, Target, as_target
from recursive_dla.weights import Attention

# Cached patterns and those computed again from queries and keys may differ by this much.
_PATTERN_TOLERANCE = 1e-2


@dataclass(frozen=True)
class PathWeights:
    """How much of the credit goes through each input of a head and of a gated MLP."""

    value: float = 0.5
    query: float = 0.25
    key: float = 0.25
    gate: float = 0.5
    up: float = 0.5


@torch.no_grad()
def rank_components(
    cache: Any,
    model: Any,
    answers: Answers | Target,
    *,
    wrong_answers: Answers | None = None,
    pos: Positions = None,
    weights: PathWeights | None = None,
    check: bool = True,
) -> pd.DataFrame:
    """Heads and MLPs at every position, ranked by how much of the answer's credit reaches them.

    Args:
        cache: The activations of one prompt.
        model: The model that made them.
        answers: One answer, or a :class:`recursive_dla.Target` of one number.
        wrong_answers: The answer to subtract.
        pos: The position whose logit it is; the last by default.
        weights: How much credit goes along each path.
        check: Whether to verify the cache first.

    Returns:
        Columns ``id``, ``kind``, ``layer``, ``head`` (-1 for MLPs), ``pos`` and ``score``, the highest first. The ids
        are those of the graph's nodes.

    Raises:
        InputError: Several prompts or answers.
        UnsupportedModelError: Attention whose queries and keys cannot be followed: norms on them, soft caps, position
            encodings other than learned and ordinary rotary ones, with no weight on queries and keys given as zero.

    Example:
        >>> rank_components(cache, model, " Mary", wrong_answers=" John")["id"].iloc[0]
        'L0MLP@4'
    """
    weights = PathWeights() if weights is None else weights
    cache = as_cache(cache, model)
    target = as_target(cache, answers, wrong_answers, pos)
    if target.value.shape != (1, 1):
        raise InputError(f"One prompt and one answer are ranked at a time. Got {tuple(target.value.shape)}.")
    if check:
        ensure_checked(cache)
    g = torch.zeros_like(cache.batched("embed")[0])
    g[int(target.pos[0])] = target.direction[0, 0]
    scores: list[tuple[str, str, int, int, Tensor]] = []
    for index in reversed(range(target.layer)):
        layer = cache.weights.layers[index]
        pulled = torch.zeros_like(g)
        if layer.mlp is not None:
            scores.append((f"L{index}MLP", "mlp", index, -1, (g * cache.batched("mlp_out", index)[0]).sum(-1)))
            pulled = _through_mlp(cache, index, g, weights)
        at_heads = g if layer.parallel else g + pulled
        through_heads, of_heads = _through_heads(cache, index, at_heads, weights)
        scores += [(f"L{index}H{head}", "head", index, head, score) for head, score in enumerate(of_heads)]
        g = g + pulled + through_heads
    return _table(scores)


def _table(scores: list[tuple[str, str, int, int, Tensor]]) -> pd.DataFrame:
    n_pos = len(scores[0][-1])
    frame = pd.DataFrame(
        [(f"{name}@{pos}", kind, layer, head, pos) for name, kind, layer, head, _ in scores for pos in range(n_pos)],
        columns=["id", "kind", "layer", "head", "pos"],
    )
    frame["score"] = torch.cat([score for *_, score in scores]).cpu().numpy()
    return frame.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)


def _through_mlp(cache: ActivationCache, index: int, g: Tensor, weights: PathWeights) -> Float[Tensor, "pos d_model"]:
    layer = cache.weights.layers[index]
    mlp = layer.mlp
    assert mlp is not None

    def rule(act: Any, gate: Tensor, up: Tensor | None) -> NeuronRule:
        slope = act.slope(gate)
        if up is None:
            return NeuronRule(slope, None, None)
        return NeuronRule(weights.gate * slope * up, weights.up * slope * gate, None)

    neurons = linearise_mlp(mlp, rule, neuron_inputs(cache, index, layer))
    at_output = pull_back_norm(g, mlp.out_norm) / norm_scale(cache, mlp.out_norm)
    pulled, _ = pull_back_mlp(at_output, mlp, neurons)
    return (pull_back_norm(pulled, mlp.norm) / norm_scale(cache, mlp.norm))[0]


def _through_heads(
    cache: ActivationCache, index: int, g: Tensor, weights: PathWeights
) -> tuple[Float[Tensor, "pos d_model"], Float[Tensor, "head pos"]]:
    attention = cache.weights.layers[index].attention
    scale = norm_scale(cache, attention.norm)[0]
    g = pull_back_norm(g, attention.out_norm) / norm_scale(cache, attention.out_norm)[0]
    pattern = cache.batched("pattern", index)[0]
    at_z = einsum(g, attention.W_O, "query d_model, head d_head d_model -> head query d_head")
    scores = einsum(at_z, cache.batched("z", index)[0], "head query d_head, query head d_head -> head query")
    at_value = weights.value * einsum(pattern, at_z, "head query key, head query d_head -> head key d_head")
    pulled = _through_weights(at_value, attention.W_V)
    if weights.query or weights.key:
        at_query, at_key = _through_scores(cache, index, attention, pattern, at_z)
        pulled = pulled + _through_weights(weights.query * at_query, attention.W_Q)
        pulled = pulled + _through_weights(weights.key * at_key, attention.W_K)
    return pull_back_norm(pulled, attention.norm) / scale, scores


def _through_scores(
    cache: ActivationCache, index: int, attention: Attention, pattern: Tensor, at_z: Tensor
) -> tuple[Float[Tensor, "head pos d_head"], Float[Tensor, "head pos d_head"]]:
    """What the answer reads, through a layer's attention scores, from its queries and from its keys."""
    n_heads = at_z.shape[0]
    query, key, rotation = _queries_and_keys(cache, index, n_heads)
    factor = _score_factor(query, key, pattern, cache.weights.name)
    values = rearrange(cache.batched("v", index)[0], "key kv d_head -> kv key d_head")
    values = repeat(values, "kv key d_head -> (kv group) key d_head", group=n_heads // len(values))
    read = einsum(at_z, values, "head query d_head, head key d_head -> head query key")
    at_scores = pattern * (read - (pattern * read).sum(-1, keepdim=True)) * factor
    at_query = einsum(at_scores, key, "head query key, head key d_head -> head query d_head")
    at_key = einsum(at_scores, query, "head query key, head query d_head -> head key d_head")
    return rotation.undone(at_query), rotation.undone(at_key)


@dataclass(frozen=True)
class _Rotation:
    """The rotary embedding of a layer: pairs ``(i, i + half)`` turned by an angle at each position."""

    cos: Tensor | None
    sin: Tensor | None

    def done(self, x: Tensor) -> Tensor:
        return self._turned(x, 1.0)

    def undone(self, x: Tensor) -> Tensor:
        return self._turned(x, -1.0)

    def _turned(self, x: Tensor, sign: float) -> Tensor:
        if self.cos is None or self.sin is None:
            return x
        size = self.cos.shape[-1]
        turned, rest = x[..., :size], x[..., size:]
        first, second = turned.chunk(2, dim=-1)
        across = torch.cat([-second, first], dim=-1)
        return torch.cat([turned * self.cos + sign * across * self.sin, rest], dim=-1)


def _queries_and_keys(cache: ActivationCache, index: int, n_heads: int) -> tuple[Tensor, Tensor, _Rotation]:
    """Queries and keys as they are multiplied, ``[head pos d_head]``, and the rotation that was applied to them."""
    cos, sin = (cache.cache_dict.get(f"blocks.{index}.attn.hook_{name}") for name in ("cos", "sin"))
    rotary = f"blocks.{index}.attn.hook_rot_q" in cache.cache_dict
    rotation = _Rotation(None, None)
    if rotary and cos is not None and sin is not None:
        rotation = _Rotation(
            *(part.reshape(-1, *part.shape[-2:])[0].to(cache.batched("q", index).dtype) for part in (cos, sin))
        )
    query, key = (rearrange(cache.batched(name, index)[0], "pos head d_head -> head pos d_head") for name in ("q", "k"))
    key = repeat(key, "kv pos d_head -> (kv group) pos d_head", group=n_heads // len(key))
    return rotation.done(query), rotation.done(key), rotation


def _score_factor(query: Tensor, key: Tensor, pattern: Tensor, name: str) -> float:
    """The factor on the scores, ``1/√d_head`` or 1, with which queries and keys give the cached pattern.

    Raises:
        UnsupportedModelError: Neither does, so something else is in the scores.
    """
    n_pos, d_head = query.shape[1:]
    mask = torch.ones(n_pos, n_pos, dtype=torch.bool, device=query.device).triu(1)
    for factor in (d_head**-0.5, 1.0):
        scores = (query @ key.mT * factor).masked_fill(mask, -torch.inf)
        if float((scores.softmax(-1) - pattern).abs().max()) < _PATTERN_TOLERANCE:
            return factor
    raise UnsupportedModelError(
        f"The attention scores of {name} are not plain products of its queries and keys (norms on them, a soft cap, a"
        " window or another position encoding), so credit cannot go through them. Use"
        " weights=PathWeights(value=1, query=0, key=0)."
    )


def _through_weights(at_head: Float[Tensor, "head pos d_head"], weight: Tensor) -> Float[Tensor, "pos d_model"]:
    """Back through ``W_Q``, ``W_K`` or ``W_V``; heads that share a key-value head are summed first."""
    grouped = rearrange(at_head, "(kv group) pos d_head -> kv group pos d_head", kv=len(weight)).sum(1)
    return einsum(grouped, weight, "kv pos d_head, kv d_model d_head -> pos d_model")
