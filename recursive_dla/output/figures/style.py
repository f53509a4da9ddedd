"""What all figures share: themes, text that plotly does not read as markup, axes of tokens, heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from recursive_dla.attribution.labels import token_label, visible, visible_line
from recursive_dla.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go

ThemeName = Literal["light", "dark"]
Scale = list[tuple[float, str]]

# Pixels of a token's column: with its label along the axis, with the label turned, and in long prompts.
_CELL, _NARROW_CELL, _NARROWEST_CELL = 66, 20, 13
# Prompts with more tokens than this have turned labels.
_MOST_ALONG = 20
_MAX_PLOT_WIDTH = 3200
# Characters of a label along the axis, and of a turned one.
_SHORT_LABEL, _LONG_LABEL = 9, 18


@dataclass(frozen=True)
class Theme:
    """Colours. ``diverging`` goes from what lowers through zero to what raises, ``sequential`` from nothing to all."""

    template: str
    paper: str
    text: str
    faint: str
    raises: str
    lowers: str
    diverging: Scale
    sequential: Scale


def _scale(*colors: str) -> Scale:
    return [(index / (len(colors) - 1), color) for index, color in enumerate(colors)]


def _diverging(*colors: str) -> Scale:
    """Nine colours, closer together around zero: most numbers are small beside the largest."""
    return list(zip((0.0, 0.14, 0.3, 0.42, 0.5, 0.58, 0.7, 0.86, 1.0), colors, strict=True))


THEMES = {
    "light": Theme(
        template="plotly_white",
        paper="#ffffff",
        text="#1f2328",
        faint="#6e7781",
        raises="#2166ac",
        lowers="#b2182b",
        diverging=_diverging(
            "#7f0a1f", "#b2182b", "#e58368", "#f9c6af", "#f7f7f7", "#bcd8ec", "#6aaed6", "#2166ac", "#0b3a73"
        ),
        sequential=_scale("#f7f7f7", "#c9dff0", "#73b0d8", "#2b7bba", "#08306b"),
    ),
    "dark": Theme(
        template="plotly_dark",
        paper="#14171c",
        text="#e6e9ee",
        faint="#9aa4b2",
        raises="#6cb6ff",
        lowers="#ff7b72",
        diverging=_diverging(
            "#ffb3a8", "#ff7b72", "#c2423f", "#6b2a2d", "#20242b", "#1f4468", "#2f77bd", "#6cb6ff", "#b5daff"
        ),
        sequential=_scale("#20242b", "#1f4468", "#2f77bd", "#6cb6ff", "#e2f0ff"),
    ),
}


def theme_named(name: str) -> Theme:
    """The theme called ``name``.

    Raises:
        InputError: There is none.
    """
    try:
        return THEMES[name]
    except KeyError:
        raise InputError(f"`theme` must be one of {', '.join(map(repr, THEMES))}. Got {name!r}.") from None


# --- text ------------------------------------------------------------------------------------------------------------

_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


def escape(text: str) -> str:
    """Text as plotly shows it unchanged: not as the HTML tags, entities and ``$`` formulas that it knows."""
    return visible_line(text).translate(_MARKUP)


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def unit_of(answer: object) -> str:
    """The unit of what is explained, with a space before it; a direction's own is not known."""
    return "" if answer is None else " logits"


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
