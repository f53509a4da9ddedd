"""Heads by the tokens they read, and one head by what it reads there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from recursive_dla.attribution.labels import token_labels
from recursive_dla.errors import InputError
from recursive_dla.output.figures.plot_parts import diverging_heatmap, grid, hover_names, layout, name_axis, token_axis
from recursive_dla.output.style import Theme, ThemeName, signed, theme_named, unit_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from recursive_dla.attribution.breakdown_data import BreakdownData

_ROW = 18


def heads_frame(heads: BreakdownData, *, top: int | None = 30, token: int = 0, prompt: int = 0) -> pd.DataFrame:
    """What each head gives to the answer by the token it reads: heads × tokens, in logits; positive raises the answer.

    Args:
        heads: A breakdown of heads, ``break_down(..., dest="heads")``.
        top: How many heads, those whose cells are the largest in sum of absolute values; ``None`` for all. They stay in
            the model's order.
        token: The place in the list of answers.
        prompt: The place in the batch.

    Returns:
        One row per head, such as ``L23H3``, and one column per token, such as ``10 ·John``. A row sums to the head's
        direct contribution less its share of biases.

    Raises:
        InputError: A breakdown of something else, a place that does not exist.

    Example:
        >>> from recursive_dla.figures import heads_frame
        >>> frame = heads_frame(break_down(cache, model, " Mary", wrong_answers=" John"), top=5)
        >>> frame.shape, frame.loc["L23H3"].idxmax()
        ((5, 15), '10 ·John')
    """
    place = _place(heads, token, prompt)
    values = heads.values[place].sum(-1)
    names = [layer + head for layer in heads.axes["dest_l"] for head in heads.axes["dest_h"]]
    frame = pd.DataFrame(values.flatten(0, 1).double().cpu().numpy(), index=pd.Index(names, name="head"))
    frame.columns = pd.Index(token_labels(heads.tokens_of(prompt)), name="source token")
    return strongest_rows(frame, top)


def heads_figure(
    heads: BreakdownData, *, top: int | None = 30, token: int = 0, prompt: int = 0, theme: ThemeName = "light"
) -> go.Figure:
    """:func:`heads_frame` as a heatmap: which heads give to the answer, and from which token they take it.

    Args:
        heads: A breakdown of heads.
        top: How many heads; ``None`` for all.
        token: The place in the list of answers.
        prompt: The place in the batch.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        InputError: As :func:`heads_frame`; an unknown theme.

    Example:
        >>> from recursive_dla.figures import heads_figure
        >>> figure = heads_figure(break_down(cache, model, " Mary", wrong_answers=" John"))
        >>> figure.data[0].z.shape
        (30, 15)
    """
    frame = heads_frame(heads, top=top, token=token, prompt=prompt)
    unit = unit_of(heads.target.answers)
    totals = heads.totals[token, prompt]
    value = float(heads.target.value[prompt, token])
    count = f"the {len(frame)} heads that matter most" if len(frame) < totals.numel() else f"all {len(frame)} heads"
    sub = f"{count}, by the token they read; all heads together: {signed(float(totals.sum()))} of {signed(value)}{unit}"
    return _heatmap(
        frame, heads, prompt, f"{heads.axes['token'][token]}: heads × source tokens", sub, theme_named(theme)
    )


def head_sources_frame(
    heads: BreakdownData, layer: int, head: int, *, top: int | None = 25, token: int = 0, prompt: int = 0
) -> pd.DataFrame:
    """What one head gives to the answer by what it reads where: components × tokens, in logits; positive raises it.

    Args:
        heads: A breakdown of heads, ``break_down(..., dest="heads")``; with ``sources="heads"``, by single heads.
        layer: The head's layer; negative ones count back.
        head: Its place in the layer.
        top: How many components, those whose cells are the largest in sum of absolute values; ``None`` for all that are
            written before the head reads. They stay in writing order.
        token: The place in the list of answers.
        prompt: The place in the batch.

    Returns:
        One row per component, such as ``0_mlp_out``, and one column per token, such as ``10 ·John``.

    Raises:
        InputError: A breakdown of something else, a head or place that does not exist.

    Example:
        >>> from recursive_dla.figures import head_sources_frame
        >>> frame = head_sources_frame(break_down(cache, model, " Mary", wrong_answers=" John"), 23, 3)
        >>> round(float(frame.loc["0_mlp_out", "10 ·John"]), 3)
        1.654
    """
    place = _place(heads, token, prompt)
    n_layers, n_heads = len(heads.axes["dest_l"]), len(heads.axes["dest_h"])
    if not (-n_layers <= layer < n_layers and 0 <= head < n_heads):
        raise InputError(f"There are layers 0 to {n_layers - 1} with heads 0 to {n_heads - 1}. Got {layer} and {head}.")
    values = heads.values[place][layer, head].mT
    frame = pd.DataFrame(values.double().cpu().numpy(), index=pd.Index(heads.axes["src_comp"], name="source component"))
    frame.columns = pd.Index(token_labels(heads.tokens_of(prompt)), name="source token")
    # What is written later than the head reads is exactly zero.
    return strongest_rows(frame[(frame != 0).any(axis=1)], top)


def head_sources_figure(
    heads: BreakdownData,
    layer: int,
    head: int,
    *,
    top: int | None = 25,
    token: int = 0,
    prompt: int = 0,
    theme: ThemeName = "light",
) -> go.Figure:
    """:func:`head_sources_frame` as a heatmap: what one head reads, and where.

    Args:
        heads: A breakdown of heads.
        layer: The head's layer; negative ones count back.
        head: Its place in the layer.
        top: How many components; ``None`` for all.
        token: The place in the list of answers.
        prompt: The place in the batch.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        InputError: As :func:`head_sources_frame`; an unknown theme.

    Example:
        >>> from recursive_dla.figures import head_sources_figure
        >>> head_sources_figure(break_down(cache, model, " Mary"), 23, 3, theme="dark").layout.title.text[:5]
        'L23H3'
    """
    frame = head_sources_frame(heads, layer, head, top=top, token=token, prompt=prompt)
    unit = unit_of(heads.target.answers)
    name = heads.axes["dest_l"][layer] + heads.axes["dest_h"][head]
    total = float(heads.totals[token, prompt, layer, head])
    sub = f"{signed(total)}{unit}, of which {signed(frame.to_numpy().sum())} from the {len(frame)} components here"
    head_line = f"{name} on {heads.axes['token'][token]}: source components × source tokens"
    return _heatmap(frame, heads, prompt, head_line, sub, theme_named(theme))


def strongest_rows(frame: pd.DataFrame, top: int | None) -> pd.DataFrame:
    """The rows with the largest sums of absolute values, in their own order.

    Raises:
        InputError: ``top`` is less than 1.
    """
    if top is None:
        return frame
    if top < 1:
        raise InputError(f"`top` must be at least 1, or None for all. Got {top}.")
    strongest = frame.abs().sum(axis=1).to_numpy().argsort(kind="stable")[::-1][:top]
    return frame.iloc[sorted(strongest)]


def _place(heads: BreakdownData, token: int, prompt: int) -> tuple[int, int]:
    if list(heads.axes)[2:] != ["dest_l", "dest_h", "src_pos", "src_comp"]:
        raise InputError(
            'This figure needs a breakdown of heads, break_down(..., dest="heads").'
            f" Got one with the axes {', '.join(heads.axes)}."
        )
    check_place(heads, token, prompt)
    return token, prompt


def check_place(breakdown: BreakdownData, token: int, prompt: int) -> None:
    """Fail for an answer or a prompt that the breakdown does not have.

    Raises:
        InputError: There is no such place.
    """
    n_tokens, n_prompts = breakdown.totals.shape[:2]
    if not (-n_tokens <= token < n_tokens and -n_prompts <= prompt < n_prompts):
        raise InputError(
            f"The breakdown is of {n_tokens} answers and {n_prompts} prompts. Got token={token} and prompt={prompt}."
        )


def _heatmap(frame: pd.DataFrame, heads: BreakdownData, prompt: int, head: str, sub: str, theme: Theme) -> go.Figure:
    import plotly.graph_objects as go

    texts = heads.tokens_of(prompt)
    axis = token_axis(texts)
    rows = list(frame.index)
    names = grid(rows, hover_names(texts))
    unit = unit_of(heads.target.answers)
    figure = go.Figure(diverging_heatmap(frame, names, theme, unit=unit))
    left = 24 + 7 * max(map(len, rows), default=0)
    figure.update_layout(
        layout(
            head,
            sub,
            theme,
            width=max(axis.length, 520) + left + 110,
            height=_ROW * max(len(rows), 6) + 80 + axis.room,
            margin={"l": left, "r": 110, "t": 80, "b": axis.room},
            xaxis=axis.settings,
            yaxis=name_axis(rows, _ROW),
        )
    )
    return figure
