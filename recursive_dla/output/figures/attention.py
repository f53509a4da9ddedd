"""A head's attention pattern, and the same weighted by the size of what it would move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from recursive_dla.attribution.labels import prompt_texts, token_labels
from recursive_dla.cache.activation_cache import ActivationCache, as_cache
from recursive_dla.cache.norms import apply_norm
from recursive_dla.errors import InputError
from recursive_dla.output.figures.caches import prompt_of
from recursive_dla.output.figures.plot_parts import colorbar, hover_names, layout, token_axis
from recursive_dla.output.style import Theme, ThemeName, theme_named

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Pixels of the side of a panel.
_SMALLEST, _LARGEST = 330, 1100


@torch.no_grad()
def attention_frame(
    cache: Any, layer: int, head: int, *, value_weighted: bool = False, prompt: int = 0
) -> pd.DataFrame:
    """A head's attention pattern: rows are the tokens that attend, columns those attended to.

    Args:
        cache: The activations: an :class:`recursive_dla.ActivationCache`, or TransformerLens's own.
        layer: The head's layer; negative ones count back.
        head: Its place in the layer.
        value_weighted: Times ``‖v_k W_O‖``, the norm of what each source token's value writes through the head: much
            attention to a token whose value is small (often the first one) moves little.
        prompt: The place in the batch.

    Returns:
        ``[query key]``, labelled as in ``10 ·John``. The rows of the plain pattern sum to 1.

    Raises:
        InputError: A head or prompt that does not exist.
        CacheError: The cache lacks the pattern; for ``value_weighted``, the residual stream.

    Source: Kobayashi et al. 2020, "Attention is Not Only a Weight" (their ``‖α f(x)‖``).

    Example:
        >>> from recursive_dla.figures import attention_frame
        >>> frame = attention_frame(cache, 23, 3)
        >>> bool((frame.sum(axis=1) - 1).abs().max() < 1e-5)
        True
        >>> attention_frame(cache, 23, 3, value_weighted=True).loc["14 ·to"].idxmax()
        '10 ·John'
    """
    cache = as_cache(cache)
    place = prompt_of(cache, prompt)
    n_layers, n_heads = cache.weights.n_layers, cache.weights.n_heads
    if not (-n_layers <= layer < n_layers and 0 <= head < n_heads):
        raise InputError(f"There are layers 0 to {n_layers - 1} with heads 0 to {n_heads - 1}. Got {layer} and {head}.")
    layer %= n_layers
    pattern = cache.batched("pattern", layer)[place, head]
    if value_weighted:
        pattern = pattern * _value_norms(cache, layer, head, place).to(pattern.dtype)
    labels = token_labels(prompt_texts(cache)[place])
    return pd.DataFrame(
        pattern.double().cpu().numpy(),
        index=pd.Index(labels, name="token that attends"),
        columns=pd.Index(labels, name="source token"),
    )


def _value_norms(cache: ActivationCache, layer: int, head: int, place: int) -> torch.Tensor:
    """``‖v_k W_O‖`` of every position, from the stream: lean caches hold no values."""
    attention = cache.weights.layers[layer].attention
    stream = cache.batched("resid_pre", layer)[place]
    read = apply_norm(stream, attention.norm, cache.norm_scale(attention.norm)[place])
    if attention.norm is not None and attention.norm.bias is not None:
        read = read + attention.norm.bias
    shared = head // (len(attention.W_O) // len(attention.W_V))
    value = read @ attention.W_V[shared]
    if attention.b_V is not None:
        value = value + attention.b_V[shared]
    return (value @ attention.W_O[head]).norm(dim=-1)


def attention_figure(cache: Any, layer: int, head: int, *, prompt: int = 0, theme: ThemeName = "light") -> go.Figure:
    """:func:`attention_frame` as two heatmaps: the pattern, and its value-weighted twin.

    Args:
        cache: The activations: an :class:`recursive_dla.ActivationCache`, or TransformerLens's own.
        layer: The head's layer; negative ones count back.
        head: Its place in the layer.
        prompt: The place in the batch.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        InputError: As :func:`attention_frame`; an unknown theme.
        CacheError: The cache lacks the pattern or the residual stream.

    Example:
        >>> from recursive_dla.figures import attention_figure
        >>> [panel.z.shape for panel in attention_figure(cache, 23, 3).data]
        [(15, 15), (15, 15)]
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    colors = theme_named(theme)
    cache = as_cache(cache)
    place = prompt_of(cache, prompt)
    texts = prompt_texts(cache)[place]
    side = min(max(24 * len(texts), _SMALLEST), _LARGEST)
    axis = token_axis(texts, upright=True)
    step = int(np.ceil(12 * len(texts) / side))
    ticks = {
        **axis.settings,
        "type": "category",
        "tickvals": axis.settings["tickvals"][::step],
        "ticktext": axis.settings["ticktext"][::step],
    }
    # Between the panels there is room for a colour bar and the labels.
    between = 110
    width = 2 * side + axis.room + between + 80
    inside = 2 * side + between
    figure = make_subplots(
        1,
        2,
        subplot_titles=("pattern", "pattern × ‖value · W_O‖"),
        horizontal_spacing=between / inside,
        shared_yaxes=True,
    )
    for column, weighted in enumerate((False, True), start=1):
        frame = attention_frame(cache, layer, head, value_weighted=weighted, prompt=prompt)
        right = (column * side + (column - 1) * between) / inside
        figure.add_trace(_panel(frame, hover_names(texts), colors, weighted, right, go), row=1, col=column)
        figure.update_xaxes({**ticks, "title": {"text": "source token"}}, row=1, col=column)
        figure.update_yaxes(
            {**ticks, "tickangle": 0, "range": [len(texts) - 0.5, -0.5]}, row=1, col=column, showticklabels=column == 1
        )
    figure.update_annotations(font={"size": 13, "color": colors.text})
    figure.update_layout(
        layout(
            f"L{layer % cache.weights.n_layers}H{head}: attention",
            "rows attend to columns",
            colors,
            width=width,
            height=side + 120 + axis.room,
            margin={"l": axis.room, "r": 80, "t": 100, "b": axis.room + 20},
        )
    )
    return figure


def _panel(frame: pd.DataFrame, names: list[str], theme: Theme, weighted: bool, right: float, go: Any) -> go.Heatmap:
    z = frame.to_numpy().copy()
    # What comes later cannot be attended to: left empty rather than shown as zero.
    z[np.triu_indices(len(z), 1)] = np.nan
    largest = float(np.nanmax(z)) if z.size else 1.0
    gap = 1 if len(z) <= 60 else 0
    what = "attention × ‖value · W_O‖" if weighted else "attention"
    return go.Heatmap(
        z=z,
        zmin=0,
        zmax=largest or 1.0 if weighted else 1.0,
        colorscale=theme.sequential,
        colorbar=colorbar("", x=right + 0.005, xanchor="left"),
        # Names on the axes: in every cell they would be most of the figure's size.
        x=names,
        y=names,
        hovertemplate="<b>%{y}</b> attends to <b>%{x}</b><br>" + what + " %{z:.4f}<extra></extra>",
        xgap=gap,
        ygap=gap,
        hoverongaps=False,
    )
