"""What is explained: logits and what is made of them, or a direction of yours, at a position of each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.cache.activations import Activations
from recursive_dla.cache.hook_names import LOGITS
from recursive_dla.cache.norms import apply_norm, norm_output, pull_back_norm
from recursive_dla.errors import InputError
from recursive_dla.model.tokens import padding_id, padding_lengths, token_ids, token_texts
from recursive_dla.model.weights import ModelWeights, Norm, is_half

Answers = str | int | Sequence[str | int] | Sequence[Sequence[str | int]] | Tensor
Positions = int | Sequence[int] | Tensor | None


@dataclass(frozen=True)
class Target:
    """Numbers to explain, one per prompt and answer.

    ``value = direction · x_layer[pos] + Σ constants``, where ``x_layer`` is the residual stream that enters that layer.

    Attributes:
        direction: What is read, pulled back through the norm in front of it, if any, at its cached scale.
        constants: By name, each ``[batch, token]``: shares of ``ln_final.b`` and ``b_U``, and what makes a number that
            is not linear in the logits whole. Those that are not there are left out.
        value: What is explained; logits, for a direction its own units.
        pos: The position of each prompt at which the stream is read.
        layer: The layer before which it is read; ``n_layers`` for the logits.
        labels: One per token, such as ``"' Mary' − ' John'"``.
        answers: Token ids; ``None`` for a direction.
        wrong_answers: Token ids of what is subtracted; ``None`` if nothing is.
        label_form: What the labels say of the answers, which take the place of ``{}``.
    """

    direction: Float[Tensor, "batch token d_model"]
    constants: dict[str, Float[Tensor, "batch token"]]
    value: Float[Tensor, "batch token"]
    pos: Int[Tensor, " batch"]
    layer: int
    labels: tuple[str, ...]
    answers: Int[Tensor, "batch token"] | None = None
    wrong_answers: Int[Tensor, "batch token"] | None = None
    label_form: str = "{}"

    @property
    def n_pos(self) -> int:
        """How many positions, from the first, what is read can depend on: nothing flows to it from later ones."""
        return int(self.pos.max()) + 1


def logit_target(
    cache: Any, answers: Answers, *, wrong_answers: Answers | None = None, pos: Positions = None
) -> Target:
    """The logits of ``answers``, or with ``wrong_answers`` the logit differences: the default of every function here.

    Of a model that soft-caps its logits, those before the cap.

    Raises:
        InputError: An answer that is not one token, shapes that do not fit the batch, an unknown position; no
            ``pos`` where prompts end in padding.
    """
    cache = as_cache(cache)
    weights = cache.weights
    right, wrong, positions = _resolve(cache, answers, wrong_answers, pos)
    unembedding, b_U = _unembedding(cache, right)
    if wrong is not None:
        minus, minus_b_U = _unembedding(cache, wrong)
        unembedding, b_U = unembedding - minus, b_U - minus_b_U
    return _read_logits(cache, unembedding, b_U, positions, _before_cap(weights, "{}"), right, wrong)


def centred_logit_target(cache: Any, answers: Answers, *, pos: Positions = None) -> Target:
    """The logits of ``answers`` less the mean logit of the vocabulary.

    What raises all tokens alike changes no prediction, and counts for nothing here. Of a model that soft-caps its
    logits, those before the cap.

    Raises:
        InputError: As :func:`logit_target`.
    """
    cache = as_cache(cache)
    weights = cache.weights
    right, _, positions = _resolve(cache, answers, None, pos)
    unembedding, b_U = _unembedding(cache, right)
    unembedding = unembedding - weights.W_U.mean(1, dtype=unembedding.dtype)
    if weights.b_U is not None:
        b_U = b_U - weights.b_U.mean(dtype=b_U.dtype)
    return _read_logits(cache, unembedding, b_U, positions, _before_cap(weights, "{} − mean"), right, None)


def log_prob_target(cache: Any, answers: Answers, *, pos: Positions = None) -> Target:
    """The log-probabilities of ``answers``, in nats, made linear at the cached logits.

    ``log p_a = Σ_v (1[v = a] − p_v) logit_v + softmax``: each logit with its derivative, and a constant named
    ``softmax`` that makes the whole exact: minus the entropy of the prediction; with a soft cap, whose derivative
    enters too, some other number.

    Raises:
        InputError: As :func:`logit_target`.
    """
    cache = as_cache(cache)
    weights = cache.weights
    right, _, positions = _resolve(cache, answers, None, pos)
    log_probs, derivative = _log_probs(cache, positions)
    # [batch token d_vocab]: one row per answer.
    slopes = torch.nn.functional.one_hot(right.to(log_probs.device), weights.d_vocab) - log_probs.exp()[:, None]
    slopes = slopes * derivative[:, None]
    b_U = torch.zeros_like(slopes[..., 0]) if weights.b_U is None else slopes @ weights.b_U.to(slopes.dtype)
    target = _read_logits(cache, slopes @ weights.W_U.mT.to(slopes.dtype), b_U, positions, "log p({})", right, None)
    value = log_probs.gather(-1, right.to(log_probs.device))
    return replace(target, constants={**target.constants, "softmax": value - target.value}, value=value)


@torch.no_grad()
def answer_probabilities(cache: Activations, target: Target) -> list[float | None]:
    """For each prompt, the probability that the model gives to the first answer; ``None`` for a direction."""
    if target.answers is None:
        return [None] * len(target.pos)
    logits, _ = _capped(cache.weights, _cached_logits(cache, target.pos))
    answers = target.answers[:, :1].to(logits.device)
    return logits.softmax(-1).gather(-1, answers)[:, 0].tolist()


def direction_target(
    cache: Any,
    direction: Float[Tensor, "*token d_model"],
    *,
    layer: int | None = None,
    pos: Positions = None,
    labels: Sequence[str] | None = None,
) -> Target:
    """What a direction of yours reads from the residual stream: a probe, a steering vector, a feature.

    Args:
        cache: The activations: ours, or TransformerLens's own.
        direction: One direction or several; they read the stream itself, without any norm.
        layer: Read the stream that enters this layer; ``None`` for the one that leaves the last.
        pos: The position, or one per prompt; the last by default.
        labels: What to call each direction.

    Raises:
        InputError: A direction of another size or that is not finite, an unknown layer or position; no ``pos``
            where prompts end in padding.
    """
    cache = as_cache(cache)
    weights = cache.weights
    layer = weights.n_layers if layer is None else layer
    if not 0 <= layer <= weights.n_layers:
        raise InputError(f"`layer` must be from 0 to {weights.n_layers}. Got {layer}.")
    if direction.ndim not in (1, 2) or direction.shape[-1] != weights.d_model:
        raise InputError(
            f"`direction` must have shape [{weights.d_model}] or [token, {weights.d_model}]."
            f" Got {list(direction.shape)}."
        )
    if not direction.isfinite().all():
        raise InputError("`direction` must be finite. Got NaN or infinity in it.")
    batch, n_pos = cache.batched("embed").shape[:2]
    if pos is None:
        ensure_no_padding_last(cache)
    positions = resolve_positions(pos, batch, n_pos)
    stream = _stream_at(cache, layer, positions)
    directions = torch.atleast_2d(direction).to(stream.device, stream.dtype)
    if labels is None:
        labels = [f"direction {index}" if len(directions) > 1 else "direction" for index in range(len(directions))]
    if len(labels) != len(directions):
        raise InputError(f"`labels` must name each of the {len(directions)} directions. Got {len(labels)}.")
    return Target(
        direction=directions.expand(batch, -1, -1),
        constants={},
        value=stream @ directions.mT,
        pos=positions.to(stream.device),
        layer=layer,
        labels=tuple(labels),
    )


def as_target(cache: Activations, answers: Answers | Target, wrong_answers: Answers | None, pos: Positions) -> Target:
    """The target that a function's arguments name: a :class:`Target` as it is, or the logits of answers.

    Raises:
        InputError: As :func:`logit_target`; or a :class:`Target` together with what it already holds.
    """
    if not isinstance(answers, Target):
        return logit_target(cache, answers, wrong_answers=wrong_answers, pos=pos)
    if wrong_answers is not None or pos is not None:
        raise InputError("A Target already says what is explained and where; leave `wrong_answers` and `pos` out.")
    if answers.direction.shape[0] != cache.batched("embed").shape[0]:
        raise InputError(
            f"The Target is for {answers.direction.shape[0]} prompts and the cache holds"
            f" {cache.batched('embed').shape[0]}; make it from the same cache."
        )
    return answers


def as_single_target(
    cache: Activations,
    answers: Answers | Target,
    wrong_answers: Answers | None,
    pos: Positions,
    *,
    explains: str,
    instead: str,
) -> Target:
    """:func:`as_target`, of one answer to one prompt.

    Args:
        cache: The activations.
        answers: What is explained.
        wrong_answers: What to subtract.
        pos: Where.
        explains: What explains it, for the error: ``"graph"``.
        instead: What to do where there are several.

    Raises:
        InputError: As :func:`as_target`; or several prompts or answers.
    """
    target = as_target(cache, answers, wrong_answers, pos)
    n_prompts, n_answers = target.value.shape
    if n_prompts != 1 or n_answers != 1:
        raise InputError(
            f"A {explains} explains one answer to one prompt. Got {n_prompts} prompts and {n_answers} answers;"
            f" {instead}."
        )
    return target


def _resolve(
    cache: Activations, answers: Answers, wrong_answers: Answers | None, pos: Positions
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Token ids of right and wrong answers, ``[batch, token]``, and the position of each prompt."""
    cache.ensure_same_place()
    batch, n_pos = cache.batched("embed").shape[:2]
    if pos is None:
        ensure_no_padding_last(cache)
    positions = resolve_positions(pos, batch, n_pos).to(cache.weights.device)
    right = _answer_ids(cache.model, answers, batch, "answers")
    if wrong_answers is None:
        return right, None, positions
    wrong = _answer_ids(cache.model, wrong_answers, batch, "wrong_answers")
    n_right, n_wrong = right.shape[1], wrong.shape[1]
    if n_wrong not in (1, n_right):
        raise InputError(f"`wrong_answers` must hold one answer, or as many as `answers` ({n_right}). Got {n_wrong}.")
    return right, wrong.expand_as(right), positions


def _unembedding(cache: Activations, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The unembedding directions of tokens and their ``b_U``, in the precision to compute with."""
    weights = cache.weights
    dtype = torch.float32 if is_half(weights.dtype) else weights.dtype
    ids = ids.to(weights.device)
    unembedding = weights.W_U.mT[ids].to(dtype)
    return unembedding, unembedding.new_zeros(ids.shape) if weights.b_U is None else weights.b_U[ids].to(dtype)


def _read_logits(
    cache: Activations,
    unembedding: Float[Tensor, "batch token d_model"],
    b_U: Float[Tensor, "batch token"],
    pos: Tensor,
    label_form: str,
    answers: Tensor,
    wrong_answers: Tensor | None,
) -> Target:
    """The target that reads ``unembedding`` behind the final norm, plus ``b_U``."""
    weights = cache.weights
    scale = _scale_at(cache, weights.final_norm, pos)
    read = apply_norm(_stream_at(cache, weights.n_layers, pos), weights.final_norm, scale)
    constants = {}
    if weights.final_norm is not None and weights.final_norm.bias is not None:
        constants["ln_final.b"] = unembedding @ weights.final_norm.bias
    if weights.b_U is not None:
        constants["b_U"] = b_U
    return Target(
        direction=pull_back_norm(unembedding, weights.final_norm, scale[:, None]),
        constants=constants,
        value=(unembedding @ read[..., None])[..., 0] + sum(constants.values()),
        pos=pos,
        layer=weights.n_layers,
        labels=tuple(map(label_form.format, _labels(cache.model, answers, wrong_answers))),
        answers=answers,
        wrong_answers=wrong_answers,
        label_form=label_form,
    )


def _log_probs(
    cache: Activations, pos: Tensor
) -> tuple[Float[Tensor, "batch d_vocab"], Float[Tensor, "batch d_vocab"]]:
    """The log-probabilities of all tokens, and the derivative of each logit by itself before the soft cap."""
    logits, derivative = _capped(cache.weights, _logits(cache, pos))
    return logits.log_softmax(-1), derivative


def _cached_logits(cache: Activations, pos: Tensor) -> Float[Tensor, "batch d_vocab"]:
    """All logits before the soft cap: to unembed costs as much as a few layers do, so as cached, where they are."""
    for name in LOGITS:
        if name in cache.cache_dict and not is_half(cache.cache_dict[name].dtype):
            return _at(cache.batched(name), pos)
    return _logits(cache, pos)


def _logits(cache: Activations, pos: Tensor) -> Float[Tensor, "batch d_vocab"]:
    weights = cache.weights
    stream = _stream_at(cache, weights.n_layers, pos)
    read = norm_output(stream, weights.final_norm, _scale_at(cache, weights.final_norm, pos))
    logits = read @ weights.W_U.to(read.dtype)
    return logits if weights.b_U is None else logits + weights.b_U


def _capped(weights: ModelWeights, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits behind the soft cap, if the model has one, and the derivative of that."""
    if weights.logit_soft_cap is None:
        return logits, torch.ones_like(logits)
    squashed = torch.tanh(logits / weights.logit_soft_cap)
    return weights.logit_soft_cap * squashed, 1 - squashed**2


def _stream_at(cache: Activations, layer: int, pos: Tensor) -> Float[Tensor, "batch d_model"]:
    last = layer == cache.weights.n_layers
    return _at(cache.batched("resid_post", layer - 1) if last else cache.batched("resid_pre", layer), pos)


def _scale_at(cache: Activations, norm: Norm | None, pos: Tensor) -> Float[Tensor, "batch 1"]:
    return _at(cache.norm_scale(norm), pos)


def _at(activation: Float[Tensor, "batch pos d"], pos: Tensor) -> Float[Tensor, "batch d"]:
    return activation[torch.arange(len(pos), device=activation.device), pos.to(activation.device)]


def resolve_positions(pos: Positions, batch: int, n_pos: int) -> Int[Tensor, " batch"]:
    """One position per prompt, counted from 0; ``None`` is the last, negative ones count from the end."""
    given = torch.as_tensor(-1 if pos is None else pos)
    if given.is_floating_point() or given.dtype == torch.bool or given.ndim > 1 or given.shape not in ((), (batch,)):
        raise InputError(f"`pos` must be an integer, or one for each of the {batch} prompts. Got {pos!r}.")
    if given.min() < -n_pos or given.max() >= n_pos:
        raise InputError(f"`pos` must be from 0 to {n_pos - 1} (or negative, from the end). Got {pos!r}.")
    return (given.long() % n_pos).expand(batch)


def ensure_no_padding_last(cache: Activations) -> None:
    """Raise if the last position, which is explained by default, is padding in some prompts of a batch.

    Raises:
        InputError: It is; with the positions to give.
    """
    embed = cache.batched("embed")
    batch, n_pos = embed.shape[:2]
    pad = padding_id(cache.model)
    if batch == 1 or pad is None or not 0 <= pad < len(cache.weights.W_E):
        return
    # To find the tokens takes the whole vocabulary, unless they are cached. Mostly no prompt ends in this one.
    if not (embed[:, -1] == cache.weights.W_E[pad].to(embed)).all(-1).any():
        return
    ids = cache.tokens()
    if ids is None:
        return
    padding = padding_lengths(cache.model, ids)
    if padding.any():
        padded = padding.nonzero()[:, 0].tolist()
        rows = ", ".join(map(str, padded[:5])) + (", …" if len(padded) > 5 else "")
        (text,) = token_texts(cache.model, torch.tensor([pad]))
        raise InputError(
            f"Prompts of this batch end in padding, {text!r} (counted from 0: {rows}), and the last position is"
            " explained by default. Give the position of each prompt's last token:"
            f" `pos={(n_pos - 1 - padding).clamp(min=0).tolist()}`. If it is no padding, give `pos=-1`."
        )


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


def _before_cap(weights: ModelWeights, label_form: str) -> str:
    """A form of labels that says so where a logit is not the one that the model puts out."""
    cap = weights.logit_soft_cap
    return label_form if cap is None else f"{label_form} before the soft cap of {cap:g}"


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


def label_of(target: Target, model: Any, prompt: int) -> str:
    """The label of a target's first token for one prompt, which names its own answers."""
    if target.answers is None:
        return target.labels[0]
    wrong = target.wrong_answers
    own = _labels(model, target.answers[prompt, None], None if wrong is None else wrong[prompt, None])[0]
    return target.label_form.format(own)
