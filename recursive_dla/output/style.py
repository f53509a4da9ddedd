"""Colours, numbers and units, alike in every figure, page, table and text: blue raises the answer, red lowers it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from recursive_dla.errors import InputError

if TYPE_CHECKING:
    from recursive_dla.attribution.provenance import GraphTarget

ThemeName = Literal["light", "dark"]
Scale = list[tuple[float, str]]


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

    def color_of(self, value: float) -> str:
        """What raises the answer, or what lowers it."""
        return self.raises if value >= 0 else self.lowers


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour such as ``#2166ac``, up to 255."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


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


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def signed_percent(share: float, digits: int = 0) -> str:
    """A share with its sign; a dash for one of nothing."""
    return f"{share:+.{digits}%}".replace("-", "−") if math.isfinite(share) else "–"


def unit_of(*answers: object) -> str:
    """The unit of what is explained, with a space before it; that of a direction, which has no answer, is not known."""
    return "" if any(answer is None for answer in answers) else " logits"


def subject(target: GraphTarget) -> str:
    """What is explained, and where."""
    return f"{target.label} at {target.pos}"
