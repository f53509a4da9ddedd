"""The logit lens: what every layer would predict at every position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.labels import prompt_texts, token_label, visible
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.cache.slices import Slice, SliceInput
from recursive_dla.errors import InputError
from recursive_dla.model.tokens import token_ids, token_texts
from recursive_dla.output.figures.caches import prompt_of
from recursive_dla.output.figures.plot_parts import colorbar, escape, hover_names, layout, name_axis, token_axis
from recursive_dla.output.style import ThemeName, theme_named

if TYPE_CHECKING:
    import plotly.graph_objects as go

Show = Literal["probability", "rank"]
# Wider cells than this have room for a token's text.
_WORD = 44
_ROW = 20


@torch.no_grad()
def logit_lens_frame(
    cache: Any, answer: str | int | None = None, *, prompt: int = 0, pos_slice: SliceInput = None
) -> pd.DataFrame:
    """The logit lens: the residual stream before every layer, read through the final norm and the unembedding.

    Args:
        cache: The activations: an :class:`recursive_dla.ActivationCache`, or TransformerLens's own.
        answer: A token to follow, a string or an id; ``None`` for only what would be predicted.
        prompt: The place in the batch.
        pos_slice: The positions to take, see :class:`recursive_dla.ActivationCache`.

    Returns:
        One row per point and position: ``point`` (``0_pre``, …, ``final_post``), ``pos``, ``token`` (its label),
        ``top_token`` and ``top_probability``; with an answer also its ``logit``, ``probability`` and ``rank``, 1 for
        the token that would be predicted. The rows of ``final_post`` are the model's own predictions.

    Raises:
        InputError: An answer that is not one token, a prompt or positions that do not exist.
        CacheError: The cache lacks the residual stream.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".

    Example:
        >>> from recursive_dla.figures import logit_lens_frame
        >>> frame = logit_lens_frame(cache, " Mary", pos_slice=-1)
        >>> frame.iloc[-1][["point", "token", "top_token"]].tolist()
        ['final_post', '14 ·to', ' Mary']
    """
    cache = as_cache(cache)
    place = prompt_of(cache, prompt)
    positions = Slice(pos_slice).kept()
    taken = positions.indices(cache.batched("embed").shape[1]).tolist()
    stack, points = cache.accumulated_resid(apply_ln=True, pos_slice=positions, return_labels=True)
    stack = stack[:, place] if cache.has_batch_dim else stack
    chosen = None if answer is None else int(token_ids(cache.model, answer)[0])
    texts = prompt_texts(cache)[place]
    parts = []
    # One point at a time: all logits at once would be [point pos d_vocab].
    for point, streams in zip(points, stack, strict=True):
        logits = _logits(cache, streams)
        log_probs = logits.log_softmax(-1)
        top = log_probs.max(-1)
        part = {
            "point": point,
            "pos": taken,
            "token": [token_label(pos, texts[pos]) for pos in taken],
            "top_token": token_texts(cache.model, top.indices),
            "top_probability": top.values.exp().cpu().double().numpy(),
        }
        if chosen is not None:
            own = logits[:, chosen]
            part["logit"] = own.cpu().double().numpy()
            part["probability"] = log_probs[:, chosen].exp().cpu().double().numpy()
            part["rank"] = (1 + (logits > own[:, None]).sum(-1)).cpu().numpy()
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _logits(cache: Any, streams: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos d_vocab"]:
    weights = cache.weights
    dtype = torch.promote_types(torch.float32, weights.dtype)
    logits = (streams.to(weights.dtype) @ weights.W_U).to(dtype)
    if weights.b_U is not None:
        logits = logits + weights.b_U
    cap = weights.logit_soft_cap
    return logits if cap is None else cap * torch.tanh(logits / cap)


def logit_lens_figure(
    cache: Any,
    answer: str | int | None = None,
    *,
    show: Show = "rank",
    prompt: int = 0,
    pos_slice: SliceInput = None,
    theme: ThemeName = "light",
) -> go.Figure:
    """:func:`logit_lens_frame` as a heatmap, layers upwards over positions, with the token that would be predicted.

    Args:
        cache: The activations: an :class:`recursive_dla.ActivationCache`, or TransformerLens's own.
        answer: A token to colour by; ``None`` to colour by the probability of the token that would be predicted.
        show: What of the answer: its ``"rank"``, on a logarithmic scale, or its ``"probability"``.
        prompt: The place in the batch.
        pos_slice: The positions to take.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        InputError: As :func:`logit_lens_frame`; an unknown ``show`` or theme.
        CacheError: The cache lacks the residual stream.

    Example:
        >>> from recursive_dla.figures import logit_lens_figure
        >>> logit_lens_figure(cache, " Mary").data[0].z.shape
        (31, 15)
    """
    import plotly.graph_objects as go

    colors = theme_named(theme)
    if show not in ("rank", "probability"):
        raise InputError(f"`show` must be 'rank' or 'probability'. Got {show!r}.")
    if answer is None:
        show = "probability"
    frame = logit_lens_frame(cache, answer, prompt=prompt, pos_slice=pos_slice)
    points = list(dict.fromkeys(frame["point"]))
    shape = (len(points), -1)
    first = frame[frame["point"] == points[0]]
    texts_of_prompt = prompt_texts(as_cache(cache))[prompt]
    positions = first["pos"].tolist()
    texts = [texts_of_prompt[pos] for pos in positions]
    axis = token_axis(texts, positions)
    wide = axis.length / max(len(texts), 1) >= _WORD
    words = frame["top_token"].map(lambda text: escape(visible(text, 7))).to_numpy().reshape(shape)
    figure = go.Figure(
        go.Heatmap(
            **_coloured(frame, None if answer is None else show, shape),
            colorscale=_scale(colors.sequential, show),
            text=words if wide else None,
            texttemplate="%{text}" if wide else None,
            textfont={"size": 10},
            customdata=_hover(frame, hover_names(texts, positions), answer is not None).reshape(shape),
            hovertemplate="%{customdata}<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    name = "" if answer is None else repr(_answer_text(cache, answer))
    head = "Logit lens: what every layer would predict" if answer is None else f"Logit lens: {show} of {name}"
    text = "cells name the token that would be predicted; " if wide else ""
    figure.update_layout(
        layout(
            head,
            f"{text}the top row is the model's own prediction",
            colors,
            width=max(axis.length, 520) + 90 + 110,
            height=_ROW * max(len(points), 6) + 80 + axis.room,
            margin={"l": 90, "r": 110, "t": 80, "b": axis.room},
            xaxis=axis.settings,
            # Layers grow upwards.
            yaxis={**name_axis(points, _ROW), "range": [-0.5, len(points) - 0.5]},
        )
    )
    return figure


def _coloured(frame: pd.DataFrame, show: Show | None, shape: tuple[int, int]) -> dict[str, Any]:
    """Colours for what is shown; ``None`` is the probability of the top token."""
    if show == "rank":
        ranks = np.log10(frame["rank"].to_numpy(dtype=float)).reshape(shape)
        decades = list(range(int(np.ceil(ranks.max(initial=0))) + 1))
        bar = colorbar("rank", tickvals=decades, ticktext=[f"{10**decade:,}" for decade in decades])
        return {"z": ranks, "zmin": 0, "zmax": max(float(ranks.max(initial=0)), 1), "colorbar": bar}
    column = "top_probability" if show is None else "probability"
    z = frame[column].to_numpy().reshape(shape)
    return {"z": z, "zmin": 0, "zmax": 1, "colorbar": colorbar("probability")}


def _scale(sequential: list[tuple[float, str]], show: Show) -> list[tuple[float, str]]:
    """The strong colour is for what is near the prediction: high probabilities, low ranks."""
    if show == "rank":
        return [(1 - place, color) for place, color in reversed(sequential)]
    return sequential


def _hover(frame: pd.DataFrame, names: list[str], with_answer: bool) -> np.ndarray:
    found = []
    places = names * (len(frame) // max(len(names), 1))
    for row, place in zip(frame.to_dict("records"), places, strict=True):
        text = f"<b>{row['point']}</b> at {place}<br>would predict {escape(repr(row['top_token']))}"
        text += f" with {row['top_probability']:.4f}"
        if with_answer:
            text += f"<br>answer: probability {row['probability']:.4g}, rank {row['rank']:,}, logit {row['logit']:.3f}"
        found.append(text)
    return np.array(found, dtype=object)


def _answer_text(cache: Any, answer: str | int) -> str:
    model = as_cache(cache).model
    return token_texts(model, token_ids(model, answer))[0]
