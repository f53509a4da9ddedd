"""An attribution tree: its branches on the left, what each carries on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from recursive_dla.attribution.labels import token_label
from recursive_dla.errors import InputError
from recursive_dla.output.figures.plot_parts import escape, layout
from recursive_dla.output.style import ThemeName, signed, theme_named, unit_of
from recursive_dla.output.tree_text import explained, facts, outline

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from recursive_dla.trees.data import TreeData

# Pixels: of a row, of a level's indent, of a character of a label, and of the bars.
_ROW, _INDENT, _CHARACTER, _BARS = 19, 22, 7.0, 420


def tree_frame(tree: TreeData, *, max_nodes: int = 60) -> pd.DataFrame:
    """The lines that :func:`tree_figure` draws: the strongest nodes that hang together, parents before children.

    Args:
        tree: Any tree.
        max_nodes: How many nodes at most; what is left out below a node is one more line, with its sum.

    Returns:
        Columns ``label``, ``depth`` (the root is 0), ``parent`` (a row of this table; -1 for the root), ``weight`` in
        logits, ``share`` of the root's weight, and ``row``, that of the node in ``tree.nodes``; -1 for what is left
        out.

    Raises:
        InputError: ``max_nodes`` is less than 1.

    Example:
        >>> from recursive_dla.figures import tree_frame
        >>> tree = attribution_tree(cache, model, " Mary", wrong_answers=" John")
        >>> tree_frame(tree, max_nodes=10)["label"][:2].tolist()
        ['logit@14 ·to', 'L23H3@14 ·to']
    """
    if max_nodes < 1:
        raise InputError(f"`max_nodes` must be at least 1. Got {max_nodes}.")
    lines = outline(tree, max_nodes)
    return pd.DataFrame(
        {
            "label": [line.label for line in lines],
            "depth": [len(line.last) for line in lines],
            "parent": [line.parent for line in lines],
            "weight": [line.weight for line in lines],
            "share": [line.share for line in lines],
            "row": [-1 if line.row is None else line.row for line in lines],
        }
    )


def tree_figure(tree: TreeData, *, max_nodes: int = 60, theme: ThemeName = "light") -> go.Figure:
    """The tree as indented branches, each with a bar for what it carries; blue raises the answer, red lowers it.

    Args:
        tree: Any tree; of a large one its strongest nodes are drawn.
        max_nodes: How many.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        InputError: ``max_nodes`` is less than 1, an unknown theme.

    Example:
        >>> from recursive_dla.figures import tree_figure
        >>> figure = tree_figure(attribution_tree(cache, model, " Mary"), max_nodes=30, theme="dark")
        >>> [trace.type for trace in figure.data]
        ['scatter', 'scatter', 'bar']
    """
    import plotly.graph_objects as go

    colors = theme_named(theme)
    frame = tree_frame(tree, max_nodes=max_nodes)
    unit = unit_of(tree.metadata.target.answer)
    rows, weight = np.arange(len(frame)), frame["weight"].to_numpy(float)
    depth, parent = frame["depth"].to_numpy(), frame["parent"].to_numpy()
    limit = float(np.abs(weight).max()) or 1.0
    hover = _hover(tree, frame, unit)
    branches = (depth * _INDENT + np.array([len(label) for label in frame["label"]]) * _CHARACTER).max() + 30
    figure = go.Figure(
        [
            _connectors(depth, parent, colors.faint),
            go.Scatter(
                x=depth * _INDENT,
                y=rows,
                mode="markers+text",
                marker={"size": 7, "color": np.where(weight >= 0, colors.raises, colors.lowers)},
                text=[f" {escape(label)}" for label in frame["label"]],
                textposition="middle right",
                textfont={"color": colors.text, "size": 12},
                hovertext=hover,
                hovertemplate="%{hovertext}<extra></extra>",
                cliponaxis=False,
            ),
            go.Bar(
                x=weight,
                y=rows,
                orientation="h",
                xaxis="x2",
                marker={
                    "color": weight,
                    "colorscale": colors.diverging,
                    "cmin": -limit,
                    "cmax": limit,
                    # The palest bars are nearly as pale as the page.
                    "line": {"color": np.where(weight >= 0, colors.raises, colors.lowers), "width": 1},
                },
                text=[signed(value) for value in weight.tolist()],
                textposition="outside",
                textfont={"color": colors.text, "size": 11},
                hovertext=hover,
                hovertemplate="%{hovertext}<extra></extra>",
                cliponaxis=False,
            ),
        ]
    )
    edge = branches / (branches + _BARS)
    bounds = min(0.0, weight.min()), max(0.0, weight.max())
    # Room for the numbers beside the bars.
    room = 0.2 * (bounds[1] - bounds[0] or 1.0)
    figure.update_layout(
        layout(
            explained(tree),
            facts(tree),
            colors,
            width=branches + _BARS + 70,
            height=_ROW * len(frame) + 150,
            margin={"l": 24, "r": 24, "t": 84, "b": 46},
            showlegend=False,
            bargap=0.3,
            xaxis={"domain": [0, edge], "range": [-10, branches], "visible": False},
            xaxis2={
                "domain": [edge, 1],
                "range": [bounds[0] - (room if bounds[0] < 0 else 0.02 * room), bounds[1] + room],
                "title": {"text": f"weight{f',{unit}' if unit else ''}; blue raises, red lowers"},
                "zerolinecolor": colors.faint,
                "gridcolor": colors.faint + "33",
            },
            yaxis={"range": [len(frame) - 0.5, -0.5], "visible": False},
            hovermode="closest",
        )
    )
    return figure


def _hover(tree: TreeData, frame: pd.DataFrame, unit: str) -> list[str]:
    """The way from the node to the root, each with its token, and what flows along it."""
    nodes, texts = tree.nodes, [token.text for token in tree.metadata.tokens]
    names, positions = nodes["id"].tolist(), nodes["pos"].tolist()

    def name(row: int, label: str) -> str:
        if row < 0 or positions[row] < 0:
            return f"<b>{escape(label)}</b>"
        pos = positions[row]
        return f"<b>{escape(names[row])}</b> {escape(token_label(pos, texts[pos], 120))}"

    found = []
    for at in range(len(frame)):
        chain, place = [], at
        while place >= 0:
            chain.append(name(int(frame["row"][place]), frame["label"][place]))
            place = int(frame["parent"][place])
        share = frame["share"][at]
        of_root = f", {signed(100 * share, 1)} % of the root" if share == share else ""
        found.append("<br>→ ".join(chain) + f"<br>{signed(frame['weight'][at], 4)}{unit}{of_root}")
    return found


def _connectors(depth: np.ndarray, parent: np.ndarray, color: str) -> go.Scatter:
    """Down to each child's row, and across to it."""
    import plotly.graph_objects as go

    rows = np.arange(len(depth))[1:]
    left, right = depth[parent[1:]] * _INDENT, depth[1:] * _INDENT
    # From the sibling above, so that no stretch is drawn twice and darker for it.
    above: dict[int, int] = {}
    start = []
    for row, one in zip(rows.tolist(), parent[1:].tolist(), strict=True):
        start.append(above.get(one, one))
        above[one] = row
    gap = np.full(len(rows), np.nan)
    return go.Scatter(
        x=np.stack([left, left, right, gap], axis=1).flatten(),
        y=np.stack([start, rows, rows, gap], axis=1).flatten(),
        mode="lines",
        line={"color": color, "width": 1},
        opacity=0.6,
        hoverinfo="skip",
    )
