"""What is explained: answers, at a position, as directions that read the final residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recursive_dla.adapters import token_ids, token_texts
from recursive_dla.cache import ActivationCache
from recursive_dla.errors import InputError
from recursive_dla.linear import apply_norm, pull_back_norm

Answers = str | int | Sequence[str | int] | Sequence[Sequence[str | int]] | Tensor
Positions = int | Sequence[int] | Tensor | None


@dataclass(frozen=True)
class Target:
    """Numbers to explain, one per prompt and answer.

    ``value = direction · x_L[pos] + Σ constants``, where ``x_L`` is the residual stream that enters the final norm.

    Attributes:
        direction: The unembedding direction, pulled back through the final norm at its cached scale.
        constants: The shares of ``ln_final.b`` and ``b_U``, where the model has them, each ``[batch, token]``; logits.
        value: The logits, or logit differences, that are explained.
        pos: The position of each prompt whose logits they are.
        answers: Token ids.
        wrong_answers: Token ids of what is subtracted; ``None`` if nothing is.
        labels: One per token, such as ``"' Mary' − ' John'"``.
    """

    direction: Float[Tensor, "batch token d_model"]
    constants: dict[str, Float[Tensor, "batch token"]]
    value: Float[Tensor, "batch token"]
    pos: Int[Tensor, " batch"]
    answers: Int[Tensor, "batch token"]
    wrong_answers: Int[Tensor, "batch token"] | None
    labels: tuple[str, ...]


def logit_target(
    cache: ActivationCache, answers: Answers, *, wrong_answers: Answers | None = None, pos: Positions = None
) -> Target:
    """The target that :func:`recursive_dla.break_down` and :func:`recursive_dla.attribution_graph` make of their
    arguments.

    Raises:
        InputError: An answer that is not one token, shapes that do not fit the batch, an unknown position.
    """
    model, weights = cache.model, cache.weights
    stream = cache.batched("resid_post", weights.n_layers - 1)
    scale = cache.batched("scale")
    batch, n_pos = stream.shape[:2]
    positions = resolve_positions(pos, batch, n_pos).to(stream.device)
    right = _answer_ids(model, answers, batch, "answers")
    wrong = None
    if wrong_answers is not None:
        wrong = _answer_ids(model, wrong_answers, batch, "wrong_answers")
        n_right, n_wrong = right.shape[1], wrong.shape[1]
        if n_wrong not in (1, n_right):
            raise InputError(
                f"`wrong_answers` must hold one answer, or as many as `answers` ({n_right}). Got {n_wrong}."
            )
        wrong = wrong.expand_as(right)

    unembedding = weights.W_U.mT[right.to(stream.device)]
    b_U = None if weights.b_U is None else weights.b_U[right.to(stream.device)]
    if wrong is not None:
        unembedding = unembedding - weights.W_U.mT[wrong.to(stream.device)]
        b_U = None if b_U is None or weights.b_U is None else b_U - weights.b_U[wrong.to(stream.device)]
    prompts = torch.arange(batch, device=stream.device)
    stream_at, scale_at = stream[prompts, positions], scale[prompts, positions]
    constants = {}
    if weights.final_norm.bias is not None:
        constants["ln_final.b"] = unembedding @ weights.final_norm.bias
    if b_U is not None:
        constants["b_U"] = b_U
    read = apply_norm(stream_at, weights.final_norm, scale_at)
    return Target(
        direction=pull_back_norm(unembedding, weights.final_norm) / scale_at[:, None],
        constants=constants,
        value=(unembedding @ read[..., None])[..., 0] + sum(constants.values()),
        pos=positions,
        answers=right,
        wrong_answers=wrong,
        labels=_labels(model, right, wrong),
    )


def resolve_positions(pos: Positions, batch: int, n_pos: int) -> Int[Tensor, " batch"]:
    """One position per prompt, counted from 0; ``None`` is the last, negative ones count from the end."""
    given = torch.as_tensor(-1 if pos is None else pos)
    if given.is_floating_point() or given.dtype == torch.bool or given.ndim > 1 or given.shape not in ((), (batch,)):
        raise InputError(f"`pos` must be an integer, or one for each of the {batch} prompts. Got {pos!r}.")
    if given.min() < -n_pos or given.max() >= n_pos:
        raise InputError(f"`pos` must be from 0 to {n_pos - 1} (or negative, from the end). Got {pos!r}.")
    return (given.long() % n_pos).expand(batch)


def _answer_ids(model: Any, answers: Answers, batch: int, argument: str) -> Int[Tensor, "batch token"]:
    """Answers in any form as token ids; one row serves every prompt."""
    if isinstance(answers, Tensor):
        if answers.is_floating_point() or answers.dtype == torch.bool or answers.ndim > 2:
            raise InputError(
                f"`{argument}` as a tensor must hold token ids, [token] or [batch, token]."
                f" Got {answers.dtype} of shape {tuple(answers.shape)}."
            )
        answers = answers.tolist()
    rows: list[Any] = [answers] if isinstance(answers, (str, int)) else list(answers)
    nested = bool(rows) and all(not isinstance(row, (str, int)) for row in rows)
    rows = [list(row) for row in rows] if nested else [rows]
    if not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise InputError(f"`{argument}` must hold at least one answer, and as many for each prompt. Got {answers!r}.")
    if nested and len(rows) != batch:
        raise InputError(
            f"`{argument}` as [batch, token] must have one row for each of {batch} prompts. Got {len(rows)}."
        )
    return torch.stack([token_ids(model, row) for row in rows]).expand(batch, -1)


def _labels(model: Any, right: Tensor, wrong: Tensor | None) -> tuple[str, ...]:
    """One label per token; where the prompts have different answers, the place in the list is all they share."""
    labels = []
    for index in range(right.shape[1]):
        parts = [ids[:, index] for ids in (right, wrong) if ids is not None]
        if all((part == part[0]).all() for part in parts):
            labels.append(" − ".join(repr(text) for part in parts for text in token_texts(model, part[:1])))
        else:
            labels.append(f"answer {index}")
    return tuple(labels)
