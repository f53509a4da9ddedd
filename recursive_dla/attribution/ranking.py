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
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.attention_rules import AttentionRule, HeadReads, frozen
from recursive_dla.attribution.mlp_rules import MLPRule, NeuronSlopes
from recursive_dla.attribution.pullback import HeadsStep, MLPStep, walk
from recursive_dla.attribution.queries_keys import ensure_scores, normalised_stream, queries_and_keys, raw_scores
from recursive_dla.attribution.targets import Answers, Positions, Target, as_target
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.cache.activations import Activations
from recursive_dla.cache.checks import ensure_checked
from recursive_dla.errors import InputError
from recursive_dla.model.activation_functions import Activation
from recursive_dla.model.weights import Layer, per_query_head, summed_by_kv_head


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
    g = torch.zeros_like(cache.batched("embed"))
    g[0, int(target.pos[0])] = target.direction[0, 0]
    scores: list[tuple[str, str, int, int, Tensor]] = []
    for step in walk(cache, g, target.layer, _mlp_rule(weights), _attention_rule(weights, check)):
        if isinstance(step, MLPStep):
            written = (step.g * cache.batched("mlp_out", step.layer)).sum(-1)
            scores.append((f"L{step.layer}MLP", "mlp", step.layer, -1, written[0]))
        elif isinstance(step, HeadsStep):
            z = cache.batched("z", step.layer)
            of_heads = einsum(step.at_z, z, "b query head d_head, b query head d_head -> b head query")[0]
            scores += [
                (f"L{step.layer}H{head}", "head", step.layer, head, score) for head, score in enumerate(of_heads)
            ]
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


def _mlp_rule(weights: PathWeights) -> MLPRule:
    """As ``ratio``, with these shares for the two factors of a gated neuron."""

    def rule(act: Activation, gate: Tensor, up: Tensor | None) -> NeuronSlopes:
        slope = act.slope(gate)
        if up is None:
            return NeuronSlopes(slope, None, None)
        return NeuronSlopes(weights.gate * slope * up, weights.up * slope * gate, None)

    return rule


def _attention_rule(weights: PathWeights, check: bool) -> AttentionRule:
    """Through values by the pattern, through queries and keys by the softmax's derivative, each with its share."""

    def rule(cache: Activations, index: int, layer: Layer, at_z: Float[Tensor, "batch pos head d_head"]) -> HeadReads:
        at_values = weights.value * frozen(cache, index, layer, at_z).at_values
        if not (weights.query or weights.key):
            return HeadReads(at_values)
        at_queries, at_keys = through_scores(cache, index, layer, at_z, check)
        return HeadReads(at_values, weights.query * at_queries, weights.key * at_keys)

    return rule


def through_scores(
    cache: Activations, index: int, layer: Layer, at_z: Float[Tensor, "batch pos head d_head"], check: bool
) -> tuple[Float[Tensor, "batch pos head d_head"], Float[Tensor, "batch pos kv_head d_head"]]:
    """What the answer reads, through a layer's attention scores, from its queries and from its keys.

    By the derivative of the softmax, and of the soft cap if there is one; norms on queries and keys are frozen. Both
    read products of the normalised stream with ``W_Q`` and with ``W_K``.
    """
    n_heads, weights = at_z.shape[2], layer.scores
    query, key = queries_and_keys(cache, index, layer)
    scores = raw_scores(query, key, weights.factor)
    if check:
        ensure_scores(cache, index, weights, scores)
    attention = layer.attention
    read = normalised_stream(cache, index, attention)
    values = einsum(read, attention.W_V, "b key d_model, kv d_model d_head -> kv b key d_head")
    if attention.b_V is not None:
        values = values + attention.b_V[:, None, None]
    pattern = cache.batched("pattern", index)
    of_values = einsum(
        at_z, per_query_head(values, n_heads), "b query head d_head, head b key d_head -> b head query key"
    )
    at_scores = pattern * (of_values - (pattern * of_values).sum(-1, keepdim=True)) * weights.factor
    if weights.soft_cap is not None:
        at_scores = at_scores * (1 - torch.tanh(scores / weights.soft_cap).square())
    keys = per_query_head(key.vectors, n_heads)
    at_queries = query.pull_back(einsum(at_scores, keys, "b head query key, head b key d_head -> head b query d_head"))
    at_keys = einsum(at_scores, query.vectors, "b head query key, head b query d_head -> b key head d_head")
    at_keys = rearrange(summed_by_kv_head(at_keys, len(weights.W_K)), "b key kv d_head -> kv b key d_head")
    return (
        rearrange(at_queries, "head b query d_head -> b query head d_head"),
        rearrange(key.pull_back(at_keys), "kv b key d_head -> b key kv d_head"),
    )
