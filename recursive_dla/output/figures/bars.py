"""The components that give most to the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import torch

from recursive_dla.attribution.labels import token_label
from recursive_dla.errors import InputError
from recursive_dla.output.figures.heatmaps import check_place
from recursive_dla.output.figures.plot_parts import escape, layout, name_axis
from recursive_dla.output.style import ThemeName, signed, theme_named, unit_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from recursive_dla.attribution.breakdown_data import BreakdownData

_SOURCES = 4


def components_frame(*breakdowns: BreakdownData, top: int = 20, token: int = 0, prompt: int = 0) -> pd.DataFrame:
    """The heads, MLPs or neurons that give most to the answer directly, the largest absolute contribution first.

    Args:
        breakdowns: Of one answer: of heads, of MLPs, or both together.
        top: How many components.
        token: The place in the list of answers.
        prompt: The place in the batch.

    Returns:
        Columns ``component``, ``total`` (logits; positive raises the answer) and ``sources``, what it takes from the
        components from which it takes most.

    Raises:
        InputError: No breakdown, breakdowns of different answers or twice of the same components, a place that does not
            exist.

    Example:
        >>> from recursive_dla.figures import components_frame
        >>> heads = break_down(cache, model, " Mary", wrong_answers=" John")
        >>> mlps = break_down(cache, model, " Mary", "mlps", wrong_answers=" John")
        >>> components_frame(heads, mlps, top=3)["component"].tolist()
        ['L23H3', 'L28MLP', 'L29H1']
    """
    if not breakdowns:
        raise InputError("Give at least one breakdown. Got none.")
    if top < 1:
        raise InputError(f"`top` must be at least 1. Got {top}.")
    first = breakdowns[0]
    rows = []
    for breakdown in breakdowns:
        check_place(breakdown, token, prompt)
        same = breakdown.target.labels == first.target.labels
        if not same or not torch.equal(breakdown.target.value, first.target.value):
            raise InputError("The breakdowns must be of the same answers to the same prompts, and these differ.")
        texts = breakdown.tokens_of(prompt)
        for found in breakdown.strongest(token, prompt, count=top, sources=_SOURCES):
            parts = []
            for labels, part in found.sources:
                named = [label for axis, label in labels.items() if axis != "src_pos"]
                if "src_pos" in labels:
                    pos = int(labels["src_pos"])
                    named.append(f"at {token_label(pos, texts[pos])}")
                parts.append(f"{signed(part)} {' '.join(named)}")
            rows.append((found.label, found.total, "; ".join(parts)))
    frame = pd.DataFrame(rows, columns=["component", "total", "sources"])
    if frame["component"].duplicated().any():
        raise InputError("Two of the breakdowns are of the same components; give each once.")
    order = frame["total"].abs().sort_values(ascending=False, kind="stable").index[:top]
    return frame.loc[order].reset_index(drop=True)


def components_figure(
    *breakdowns: BreakdownData, top: int = 20, token: int = 0, prompt: int = 0, theme: ThemeName = "light"
) -> go.Figure:
    """:func:`components_frame` as bars.

    Args:
        breakdowns: Of one answer: of heads, of MLPs, or both together.
        top: How many components.
        token: The place in the list of answers.
        prompt: The place in the batch.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        InputError: As :func:`components_frame`; an unknown theme.

    Example:
        >>> from recursive_dla.figures import components_figure
        >>> len(components_figure(break_down(cache, model, " Mary"), top=7).data[0].x)
        7
    """
    import plotly.graph_objects as go

    colors = theme_named(theme)
    frame = components_frame(*breakdowns, top=top, token=token, prompt=prompt)
    target = breakdowns[0].target
    unit = unit_of(target.answers)
    count = sum(breakdown.totals[token, prompt].numel() for breakdown in breakdowns)
    totals = frame["total"].to_numpy()
    hover = [
        f"<b>{escape(name)}</b> {signed(total, 4)}{unit}, of which<br>" + "<br>".join(map(escape, sources.split("; ")))
        for name, total, sources in frame.itertuples(index=False)
    ]
    figure = go.Figure(
        go.Bar(
            x=totals,
            y=list(range(len(frame))),
            orientation="h",
            marker={
                "color": list(map(colors.color_of, totals)),
                "line": {"width": 0},
            },
            text=[signed(total) for total in totals],
            textposition="outside",
            cliponaxis=False,
            hovertext=hover,
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )
    names = list(frame["component"])
    largest = max(float(abs(totals).max(initial=0)), 1e-12) * 1.2
    left = 24 + 7.5 * max(map(len, names), default=0)
    figure.update_layout(
        layout(
            f"{target.labels[token]}: what gives most",
            f"the {len(frame)} largest of {count} components; they sum to {signed(totals.sum())}, the answer is"
            f" {signed(float(target.value[prompt, token]))}{unit}; blue raises, red lowers",
            colors,
            width=820,
            height=22 * max(len(frame), 4) + 140,
            margin={"l": left, "r": 40, "t": 80, "b": 60},
            bargap=0.25,
            xaxis={
                "title": {"text": unit.strip()},
                "range": [-largest if (totals < 0).any() else 0, largest if (totals > 0).any() else 0],
                "zeroline": True,
                "zerolinecolor": colors.faint,
            },
            yaxis=name_axis(names, 22),
        )
    )
    return figure
