"""What plotly figures are put together from: text that is not read as markup, titles, axes of tokens, heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recursive_dla.attribution.labels import token_label, visible, visible_line
from recursive_dla.output.style import Theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Pixels of a token's column: with its label along the axis, with the label turned, and in long prompts.
_CELL, _NARROW_CELL, _NARROWEST_CELL = 66, 20, 13
# Prompts with more tokens than this have turned labels.
_MOST_ALONG = 20
_MAX_PLOT_WIDTH = 3200
# Characters of a label along the axis, and of a turned one.
_SHORT_LABEL, _LONG_LABEL = 9, 18


# --- text ------------------------------------------------------------------------------------------------------------

_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


def escape(text: str) -> str:
    """Text as plotly shows it unchanged: not as the HTML tags, entities and ``$`` formulas that it knows."""
    return visible_line(text).translate(_MARKUP)


def title(head: str, sub: str, theme: Theme) -> dict[str, Any]:
    """A title with a smaller line below it; both are escaped here."""
    return {
        "text": f"{escape(head)}<br><span style='font-size:12px;color:{theme.faint}'>{escape(sub)}</span>",
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "pad": {"t": 18},
        "font": {"size": 16, "color": theme.text},
    }


def layout(
    head: str, sub: str, theme: Theme, *, width: float | int, height: float | int, **more: Any
) -> dict[str, Any]:
    """A layout's common parts."""
    return {
        "template": theme.template,
        "paper_bgcolor": theme.paper,
        "plot_bgcolor": theme.paper,
        "font": {"color": theme.text, "size": 12},
        "title": title(head, sub, theme),
        "width": round(width),
        "height": round(height),
        "hoverlabel": {"align": "left", "namelength": -1},
        **more,
    }


# --- axes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenAxis:
    """An axis along a prompt's tokens: plotly's settings, its length, and the room its labels need beside it."""

    settings: dict[str, Any]
    length: float
    room: float


def token_axis(texts: Sequence[str], positions: Sequence[int] | None = None, *, upright: bool = False) -> TokenAxis:
    """A horizontal axis with one label per token, or, if the prompt is too long for that, at even distances.

    Few short tokens are written along the axis with their position below, others turned by a right angle with their
    position first.

    Args:
        texts: The tokens that are on the axis.
        positions: Their positions in the prompt; from 0 by default.
        upright: Turn the labels in any case.
    """
    positions = range(len(texts)) if positions is None else positions
    n = max(len(texts), 1)
    if not upright and n <= _MOST_ALONG:
        cell = float(_CELL)
        # Equal tokens differ by the position below them.
        labels = [f"{escape(visible(text, _SHORT_LABEL))}<br>{pos}" for pos, text in zip(positions, texts, strict=True)]
        settings: dict[str, Any] = {"tickangle": 0}
        room = 50.0
    else:
        cell = min(max(_NARROWEST_CELL, min(_NARROW_CELL, 1300 / n)), _MAX_PLOT_WIDTH / n)
        turned = [token_label(pos, text, _LONG_LABEL) for pos, text in zip(positions, texts, strict=True)]
        labels = [escape(label) for label in turned]
        settings = {"tickangle": 90, "tickfont": {"size": 10}}
        room = 30 + 5.6 * max(map(len, turned), default=0)
    step = int(np.ceil(_NARROWEST_CELL / cell))
    settings |= {
        "tickmode": "array",
        "tickvals": list(range(len(texts)))[::step],
        "ticktext": labels[::step],
        "range": [-0.5, len(texts) - 0.5],
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
    }
    return TokenAxis(settings, float(cell * n), float(room))


def name_axis(names: Sequence[str], cell: int) -> dict[str, Any]:
    """A vertical axis with one label per name, the first on top; the names are escaped here.

    Args:
        names: The labels.
        cell: Pixels of a row; where labels would overlap, some are left out.
    """
    step = int(np.ceil(11 / cell))
    return {
        "tickmode": "array",
        "tickvals": list(range(len(names)))[::step],
        "ticktext": [escape(name) for name in names][::step],
        "range": [len(names) - 0.5, -0.5],
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "tickfont": {"size": 11},
    }


def hover_names(texts: Sequence[str], positions: Sequence[int] | None = None) -> list[str]:
    """Every token's full label, escaped."""
    positions = range(len(texts)) if positions is None else positions
    return [escape(token_label(pos, text, 120)) for pos, text in zip(positions, texts, strict=True)]


# --- heatmaps --------------------------------------------------------------------------------------------------------


def grid(rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """The names of each cell's row and column, ``[row column 2]``, for a hover template."""
    return np.stack(
        np.broadcast_arrays(np.array(rows, dtype=object)[:, None], np.array(columns, dtype=object)), axis=-1
    )


def diverging_heatmap(values: pd.DataFrame, names: np.ndarray, theme: Theme, *, unit: str) -> go.Heatmap:
    """Signed numbers, coloured symmetrically around zero.

    Args:
        values: One cell each.
        names: As :func:`grid` gives them.
        theme: The colours.
        unit: For the hover text and the colour bar.
    """
    import plotly.graph_objects as go

    z = values.to_numpy(dtype=float)
    limit = float(np.abs(z).max(initial=0.0)) or 1.0
    return go.Heatmap(
        z=z,
        zmin=-limit,
        zmid=0,
        zmax=limit,
        colorscale=theme.diverging,
        colorbar=colorbar(unit.strip()),
        customdata=names,
        hovertemplate="<b>%{customdata[0]}</b> reads %{customdata[1]}<br>%{z:+.4f}" + unit + "<extra></extra>",
        xgap=1,
        ygap=1,
    )


def colorbar(label: str, **more: Any) -> dict[str, Any]:
    """A thin colour bar."""
    return {"title": {"text": label}, "thickness": 12, "len": 1, "lenmode": "fraction", "outlinewidth": 0, **more}
