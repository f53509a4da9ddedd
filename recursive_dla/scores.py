"""Why a head attends where it does: its attention scores, broken down by what made the query and what made the key.

With norm scales at their cached values a score is bilinear: query and key are both sums over what was written before,
and every pair of a part of the one and a part of the other has its own product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from recursive_dla.attribution.components import Components, component_outputs, components_named
from recursive_dla.attribution.labels import prompt_texts, visible_line
from recursive_dla.attribution.queries_keys import (
    Projection,
    alibi,
    ensure_scores,
    queries_and_keys,
    raw_scores,
)
from recursive_dla.attribution.targets import Positions, resolve_positions
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.cache.checks import ensure_checked
from recursive_dla.errors import InputError


class ScorePair(NamedTuple):
    """A component of the query, one of the key, and what they add to the score."""

    query_comp: str
    key_comp: str
    value: float


@dataclass(frozen=True)
class ScoreBreakdown:
    """One head's attention scores of one query in each prompt, by pairs of components.

    ``values`` summed over its last two axes, plus the constants, is ``totals``. Biases that enter a query or a key are
    components here, named: each multiplies what is on the other side.

    Attributes:
        values: The score's share of each pair; positive draws attention. Zero for keys after the query.
        axes: The name and the labels of each axis, in order.
        totals: The scores, before the mask and before the soft cap if there is one.
        constants: What is added to them whatever is read, by name: ``alibi``.
        pattern: How much of the query's attention each key got.
        query: The query's position in each prompt.
        head: Such as ``L23H3``.
        soft_cap: Where the model squashes its scores, the value at which.
        tokens: The texts of each prompt's tokens.
    """

    values: Float[Tensor, "batch key query_comp key_comp"]
    axes: dict[str, tuple[str, ...]]
    totals: Float[Tensor, "batch key"]
    constants: dict[str, Float[Tensor, "batch key"]]
    pattern: Float[Tensor, "batch key"]
    query: Int[Tensor, " batch"]
    head: str
    soft_cap: float | None
    tokens: tuple[tuple[str, ...], ...]

    @property
    def completeness_error(self) -> float:
        """The largest ``|Σ pairs + constants − score|``, relative to the largest score."""
        explained = self.values.sum((2, 3)) + sum(self.constants.values())
        return float((explained - self.totals).abs().max() / self.totals.abs().max().clamp_min(torch.finfo().tiny))

    def centred(self) -> ScoreBreakdown:
        """The same less its mean over the keys, each weighted by the attention it got.

        What raises the scores of all keys alike moves no attention, and is gone here.
        """
        seen = torch.arange(self.totals.shape[1], device=self.query.device) <= self.query[:, None]

        def less_mean(x: Tensor) -> Tensor:
            mean = einsum(self.pattern, x, "b key, b key ... -> b ...")[:, None]
            return (x - mean) * seen.view(*seen.shape, *[1] * (x.ndim - 2))

        return replace(
            self,
            values=less_mean(self.values),
            totals=less_mean(self.totals),
            constants={name: less_mean(constant) for name, constant in self.constants.items()},
        )

    def strongest(self, prompt: int = 0, key: int | None = None, *, count: int = 5) -> list[ScorePair]:
        """The pairs that add most to a key's score, by absolute size; of the key that got most attention by default."""
        key = int(self.pattern[prompt].argmax()) if key is None else key
        here = self.values[prompt, key]
        places = here.flatten().abs().topk(min(count, here.numel())).indices
        names, width = list(self.axes.values())[2:], here.shape[1]
        return [
            ScorePair(names[0][place // width], names[1][place % width], value)
            for place, value in zip(places.tolist(), here.flatten()[places].tolist(), strict=True)
        ]

    def __str__(self) -> str:
        shape = " ".join(f"{name}={len(labels)}" for name, labels in self.axes.items())
        cap = "" if self.soft_cap is None else f", before the soft cap of {self.soft_cap:g}"
        lines = [f"Scores of {self.head} [{shape}]{cap}, completeness error {self.completeness_error:.1e}"]
        for prompt, query in enumerate(self.query.tolist()):
            texts = self.tokens[prompt]
            key = int(self.pattern[prompt].argmax())
            lines.append(
                f"prompt {prompt}, query {query} {texts[query]!r}: {float(self.pattern[prompt, key]):.2f} of its"
                f" attention on key {key} {texts[key]!r}, score {float(self.totals[prompt, key]):+.3f}; strongest:"
            )
            for pair in self.strongest(prompt, key):
                lines.append(f"  {pair.value:+.3f}  query's {pair.query_comp} × key's {pair.key_comp}")
        return "\n".join(map(visible_line, lines))


@torch.no_grad()
def attention_score_breakdown(
    cache: Any,
    model: Any,
    layer: int,
    head: int,
    *,
    pos: Positions = None,
    sources: str = "layers",
    check: bool = True,
) -> ScoreBreakdown:
    """Break one head's attention scores down by what its query and its keys were made from.

    For the query at position ``q`` and every key ``k`` up to it,

        score[k] = Σ_i Σ_j factor · (R_q W_Q N(o_i[q])) · (R_k W_K N(o_j[k])) + ALiBi

    over the components ``i`` and ``j`` written before the layer, and the biases on either side, which are named
    components too. ``N`` is the frozen norm before the attention, and where the model has one the frozen norm on its
    queries or keys; ``R`` its rotary embedding.

    Args:
        cache: The activations of the prompts: ours, or TransformerLens's own.
        model: The model that made them.
        layer: The head's layer; negative ones count back.
        head: The head.
        pos: The position of the query, or one per prompt; the last by default.
        sources: ``"layers"`` for ``embed``, ``0_attn_out``, ``0_mlp_out``, …; ``"heads"`` for single heads.
        check: Whether to verify the cache first, and that these scores give its attention pattern.

    Returns:
        The breakdown. A soft-capped score is explained before the cap.

    Raises:
        InputError: A layer, head or position that does not exist, unknown ``sources``.
        CacheError: The cache lacks activations, or does not fit the model.
        UnsupportedModelError: Something is in the model's attention scores that is not handled.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", QK circuits (their
    ``x W_Q W_K^T x``), with norms, positions and biases kept.

    Example:
        >>> scores = attention_score_breakdown(cache, model, 23, 3)
        >>> scores.values.shape
        torch.Size([1, 15, 47, 47])
        >>> scores.pattern[0].argmax().item(), scores.tokens[0][10]
        (10, ' John')
        >>> scores.centred().strongest()[0]  # doctest: +ELLIPSIS
        ScorePair(...)
    """
    cache = as_cache(cache, model)
    weights = cache.weights
    for name, given, count in (("layer", layer, weights.n_layers), ("head", head, weights.n_heads)):
        if not -count <= given < count:
            raise InputError(f"`{name}` must be from 0 to {count - 1} (or negative, from the end). Got {given}.")
    layer, head = layer % weights.n_layers, head % weights.n_heads
    components = _written_before(components_named(weights, sources), layer)
    batch, n_pos = cache.batched("embed").shape[:2]
    query_pos = resolve_positions(pos, batch, n_pos).to(weights.device)
    if check:
        ensure_checked(cache)
    block = weights.layers[layer]
    rule = block.scores
    query, key = queries_and_keys(cache, layer, block)
    scores = raw_scores(query, key, rule.factor)
    if check:
        ensure_scores(cache, layer, rule, scores)
    prompts = torch.arange(batch, device=weights.device)
    outputs = component_outputs(cache, components)
    kv_head = head * len(key.weight) // len(query.weight)
    query_parts, query_labels = _parts(query, outputs, components, head)
    key_parts, key_labels = _parts(key, outputs, components, kv_head)
    seen = (torch.arange(n_pos, device=weights.device) <= query_pos[:, None]).to(scores.dtype)
    values = einsum(
        query_parts[:, prompts, query_pos],
        key_parts * seen[..., None] * rule.factor,
        "query_comp b d_head, key_comp b key d_head -> b key query_comp key_comp",
    )
    totals, constants = scores[:, head][prompts, query_pos], {}
    added = alibi(rule, n_pos)
    if added is not None:
        constants["alibi"] = added[head] * seen
        totals = totals + added[head]
    axes = {
        "batch": tuple(map(str, range(batch))),
        "key": tuple(map(str, range(n_pos))),
        "query_comp": query_labels,
        "key_comp": key_labels,
    }
    return ScoreBreakdown(
        values=values,
        axes=axes,
        totals=totals * seen,
        constants=constants,
        pattern=cache.batched("pattern", layer)[:, head][prompts, query_pos],
        query=query_pos,
        head=f"L{layer}H{head}",
        soft_cap=rule.soft_cap,
        tokens=prompt_texts(cache),
    )


def _written_before(components: Components, layer: int) -> Components:
    """Those components that a layer's attention reads."""
    return replace(components, all=components.all[: components.before_attention[layer]])


def _parts(
    side: Projection, outputs: Tensor, components: Components, head: int
) -> tuple[Float[Tensor, "comp batch pos d_head"], tuple[str, ...]]:
    """The parts of one head's vectors, biases last, and what to call them."""
    constants = side.constants(head)
    parts = [side.parts(outputs, head), *(constant[None] for constant in constants.values())]
    return torch.cat(parts), (*components.labels, *constants)
