"""Which components matter if they are taken away: a ranking that also credits what made heads attend where they did.

The attribution graph holds attention patterns constant, which makes it exact. But a component that is ablated also
changes the queries and keys of later heads. The ranking sends part of the credit through them, and so no longer adds
up: its scores order components, and are not to be read as logits or mixed with a graph's.

Backward, a head's credit goes to the value side with weight ``value`` (through the pattern, as in the graph) and to its
queries and keys with ``query`` and ``key`` (through the softmax's derivative, with the other side fixed); a gated MLP's
goes through ``gate`` and ``up``. Norms keep their cached scales, those on queries and keys too; a soft cap on the
scores counts by its derivative, as the softmax does; keys that a window masks get nothing. The weights' names and
defaults are those of Dual Path Attribution (arXiv 2603.19742).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.mlp_rules import NeuronRule
from recursive_dla.attribution.pullback import linearise_mlp, pull_back_mlp, pull_back_norm
from recursive_dla.attribution.queries_keys import (
    ensure_scores,
    normalised_stream,
    per_query_head,
    queries_and_keys,
    raw_scores,
    summed_by_kv_head,
)
from recursive_dla.attribution.targets import Answers, Positions, Target, as_target
from recursive_dla.cache.activation_cache import ActivationCache, as_cache
from recursive_dla.cache.checks import ensure_checked
from recursive_dla.cache.neuron_inputs import neuron_inputs, norm_scale
from recursive_dla.errors import InputError
from recursive_dla.model.weights import Attention


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
        check: Whether to verify the cache first, and that queries and keys give its attention patterns.

    Returns:
        Columns ``id``, ``kind``, ``layer``, ``head`` (-1 for MLPs), ``pos`` and ``score``, the highest first. The ids
        are those of the graph's nodes.

    Raises:
        InputError: Several prompts or answers.
        CacheError: The cache lacks activations, or does not fit the model.
        UnsupportedModelError: Something is in the attention scores that is not handled; with the weights of ``query``
            and ``key`` zero, they are not looked at.

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
        through_heads, of_heads = _through_heads(cache, index, at_heads, weights, check)
        scores += [(f"L{index}H{head}", "head", index, head, score) for head, score in enumerate(of_heads)]
        g = g + pulled + through_heads
    return _table(scores)


def _table(scores: list[tuple[str, str, int, int, Tensor]]) -> pd.DataFrame:
    # Before the first layer, where a target may read the stream, there is nothing to rank.
    n_pos = len(scores[0][-1]) if scores else 0
    frame = pd.DataFrame(
        [(f"{name}@{pos}", kind, layer, head, pos) for name, kind, layer, head, _ in scores for pos in range(n_pos)],
        columns=["id", "kind", "layer", "head", "pos"],
    )
    frame["score"] = torch.cat([score for *_, score in scores]).cpu().numpy() if scores else np.empty(0)
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
    cache: ActivationCache, index: int, g: Tensor, weights: PathWeights, check: bool
) -> tuple[Float[Tensor, "pos d_model"], Float[Tensor, "head pos"]]:
    attention = cache.weights.layers[index].attention
    scale = norm_scale(cache, attention.norm)[0]
    g = pull_back_norm(g, attention.out_norm) / norm_scale(cache, attention.out_norm)[0]
    pattern = cache.batched("pattern", index)[0]
    at_z = einsum(g, attention.W_O, "query d_model, head d_head d_model -> head query d_head")
    scores = einsum(at_z, cache.batched("z", index)[0], "head query d_head, query head d_head -> head query")
    at_value = weights.value * einsum(pattern, at_z, "head query key, head query d_head -> head key d_head")
    pulled = _through_weight(summed_by_kv_head(at_value, len(attention.W_V)), attention.W_V)
    if weights.query or weights.key:
        at_query, at_key = _through_scores(cache, index, attention, at_z, check)
        pulled = pulled + _through_weight(weights.query * at_query, attention.W_Q)
        pulled = pulled + _through_weight(weights.key * at_key, attention.W_K)
    return pull_back_norm(pulled, attention.norm) / scale, scores


def _through_scores(
    cache: ActivationCache, index: int, attention: Attention, at_z: Float[Tensor, "head pos d_head"], check: bool
) -> tuple[Float[Tensor, "head pos d_head"], Float[Tensor, "kv_head pos d_head"]]:
    """What the answer reads, through a layer's attention scores, from its queries and from its keys.

    By the derivative of the softmax, and of the soft cap if there is one; norms on queries and keys are frozen.
    """
    n_heads, rule = len(at_z), attention.scores
    query, key = queries_and_keys(cache, index, attention)
    scores = raw_scores(query, key, rule)
    if check:
        ensure_scores(cache, index, rule, scores)
    values = einsum(
        normalised_stream(cache, index, attention)[0], attention.W_V, "key d_model, kv d_model d_head -> kv key d_head"
    )
    if attention.b_V is not None:
        values = values + attention.b_V[:, None]
    pattern = cache.batched("pattern", index)[0]
    read = einsum(at_z, per_query_head(values, n_heads), "head query d_head, head key d_head -> head query key")
    at_scores = pattern * (read - (pattern * read).sum(-1, keepdim=True)) * rule.factor
    if rule.soft_cap is not None:
        at_scores = at_scores * (1 - torch.tanh(scores[0] / rule.soft_cap).square())
    keys = per_query_head(key.vectors, n_heads)[:, 0]
    at_query = einsum(at_scores, keys, "head query key, head key d_head -> head query d_head")
    at_key = einsum(at_scores, query.vectors[:, 0], "head query key, head query d_head -> head key d_head")
    at_key = summed_by_kv_head(at_key, len(attention.W_K))
    return query.pull_back(at_query[:, None])[:, 0], key.pull_back(at_key[:, None])[:, 0]


def _through_weight(at_vectors: Float[Tensor, "head pos d_head"], weight: Tensor) -> Float[Tensor, "pos d_model"]:
    """Back through ``W_Q``, ``W_K`` or ``W_V``."""
    return einsum(at_vectors, weight, "head pos d_head, head d_model d_head -> pos d_model")
