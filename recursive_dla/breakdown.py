"""One level of recursion: each head's and each MLP's contribution to a logit, broken down by what it read.

The direction that reads the answer is pulled back through the final norm, through every head's OV circuit or every MLP,
and through that layer's norm, before anything is contracted; then one einsum with the stack of component outputs, the
attention pattern and the reciprocal norm scale gives all numbers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.breakdown_data import BreakdownData
from recursive_dla.attribution.components import components_named
from recursive_dla.attribution.destinations import DESTINATIONS
from recursive_dla.attribution.labels import prompt_texts
from recursive_dla.attribution.mlp_rules import DEFAULT_RULE, rule_named
from recursive_dla.attribution.targets import Answers, Positions, Target, as_target
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.cache.checks import ensure_checked
from recursive_dla.errors import InputError
from recursive_dla.output.summary_text import breakdown_text


@dataclass(frozen=True, repr=False)
class Breakdown(BreakdownData):
    """Numbers broken down by source. ``values`` summed over its source axes, plus the constants, is ``totals``.

    The data is that of :class:`recursive_dla.attribution.breakdown_data.BreakdownData`. Made by
    :func:`recursive_dla.break_down`.
    """

    def __str__(self) -> str:
        return breakdown_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from recursive_dla.output.notebook import breakdown_html

        return breakdown_html(self)


@torch.no_grad()
def break_down(
    cache: Any,
    model: Any,
    answers: Answers | Target,
    dest: str = "heads",
    *,
    wrong_answers: Answers | None = None,
    pos: Positions = None,
    sources: str = "layers",
    rule: str = DEFAULT_RULE,
    top_k: int = 100,
    check: bool = True,
) -> Breakdown:
    """Break every head's, MLP's or neuron's direct contribution to the answer down by what it read.

    For head ``h`` of layer ``l`` at the target position ``q``, with patterns and norm scales as cached,

        g · result_lh[q] = Σ_k Σ_c A_lh[q, k] v_lh · o_c[k] / s_l[k] + constants ,   v_lh = w ⊙ (W_V W_O g) ,

    over source positions ``k`` and the components ``c`` written before layer ``l``. MLPs read their own position only,
    and are made linear by ``rule``.

    Args:
        cache: The activations of the prompts: ours, or TransformerLens's own.
        model: The model that made them.
        answers: What to explain: a string or a token id, a list of them or a tensor ``[token]`` (the same for every
            prompt), or a tensor or nested list ``[batch, token]``. Or a :class:`recursive_dla.Target`, for anything
            other than logits.
        dest: What to break down: ``"heads"``, ``"mlps"``, ``"mlp-paths"`` (what gated MLPs get through ``gate`` and
            through ``up``, apart) or ``"neurons"``.
        wrong_answers: In the same form; explains ``answers − wrong_answers``, the logit difference.
        pos: The position whose logits are explained, or one per prompt; the last by default, which is wrong for
            prompts padded on the right.
        sources: ``"layers"`` for ``embed``, ``0_attn_out``, ``0_mlp_out``, …; ``"heads"`` for single heads.
        rule: How MLPs are made linear: see :mod:`recursive_dla.attribution.mlp_rules`.
        top_k: How many neurons, those with the largest contributions to any of the answers.
        check: Whether to verify the cache first: see :func:`recursive_dla.check`.

    Returns:
        ``values`` is ``[token batch dest_l dest_h src_pos src_comp]`` for heads and ``[token batch dest_l src_comp]``
        for MLPs. Sources that are written later than the destination reads are zero.

    Raises:
        InputError: Answers or positions that do not fit, an unknown ``dest`` or rule.
        CacheError: The cache lacks activations, or does not fit the model.
        UnsupportedModelError: The model has a part that is not handled.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", sections on the residual stream and
    OV circuits (their ``W_OV h`` terms); ``A``, ``W_V``, ``W_O`` as there, norms kept.

    Example:
        >>> breakdown = break_down(cache, model, " Mary", wrong_answers=" John")
        >>> breakdown.values.shape
        torch.Size([1, 1, 30, 9, 15, 61])
        >>> round(float(breakdown.totals[0, 0, 23, 3]), 3)
        2.078
    """
    if dest not in DESTINATIONS:
        raise InputError(f"`dest` must be one of {', '.join(map(repr, DESTINATIONS))}. Got {dest!r}.")
    mlp_rule = rule_named(rule)
    if top_k < 1:
        raise InputError(f"`top_k` must be at least 1. Got {top_k}.")
    cache = as_cache(cache, model)
    components = components_named(cache.weights, sources)
    target = as_target(cache, answers, wrong_answers, pos)
    if check:
        ensure_checked(cache)
    pieces = DESTINATIONS[dest](cache, target, components, mlp_rule, top_k)
    axes = {"token": target.labels, "batch": tuple(map(str, range(len(target.pos)))), **pieces.axes}
    return Breakdown(pieces.values, axes, pieces.totals, pieces.constants, target, prompt_texts(cache))


def dla_attn_head_breakdown_source_component(
    cache: Any, model: Any, answers: Answers | Target, *, wrong_answers: Answers | None = None, pos: Positions = None
) -> Float[Tensor, "token batch dest_l dest_h src_pos src_comp"]:
    """Each head's contribution to each answer, by source position and source component.

    The values of :func:`break_down` for ``dest="heads"``, with the same arguments. Summed over ``src_pos`` and
    ``src_comp`` they are the heads' direct logit attributions less the constants, which ``break_down`` names.

    Example:
        >>> dla_attn_head_breakdown_source_component(cache, model, " Mary").shape
        torch.Size([1, 1, 30, 9, 15, 61])
    """
    return break_down(cache, model, answers, "heads", wrong_answers=wrong_answers, pos=pos).values


def dla_mlp_breakdown_source_component(
    cache: Any, model: Any, answers: Answers | Target, *, wrong_answers: Answers | None = None, pos: Positions = None
) -> Float[Tensor, "token batch dest_l src_comp"]:
    """Each MLP's contribution to each answer, by source component at the same position.

    The values of :func:`break_down` for ``dest="mlps"``, with the same arguments and the default rule.

    Example:
        >>> dla_mlp_breakdown_source_component(cache, model, " Mary").shape
        torch.Size([1, 1, 30, 61])
    """
    return break_down(cache, model, answers, "mlps", wrong_answers=wrong_answers, pos=pos).values
