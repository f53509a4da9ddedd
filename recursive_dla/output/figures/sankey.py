"""The flow of an attribution graph as a Sankey diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from recursive_dla.attribution.labels import visible
from recursive_dla.graphs.pruning import prune
from recursive_dla.output.figures.network import graph_frame, node_tokens
from recursive_dla.output.figures.plot_parts import escape, layout
from recursive_dla.output.style import Theme, ThemeName, rgb, signed, theme_named, unit_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from recursive_dla.graphs.data import GraphData


def sankey_frame(graph: GraphData, *, max_edges: int = 50) -> pd.DataFrame:
    """The links that :func:`sankey_figure` draws: :func:`recursive_dla.figures.graph_frame` of fewer edges.

    Args:
        graph: Any graph.
        max_edges: How many links at most.

    Raises:
        InputError: ``max_edges`` is less than 1.

    Example:
        >>> from recursive_dla.figures import sankey_frame
        >>> frame = sankey_frame(attribution_graph(cache, model, " Mary", wrong_answers=" John"))
        >>> len(frame) <= 50, set(frame["target"]) - set(frame["source"])
        (True, {'logit@14'})
    """
    return graph_frame(graph, max_edges=max_edges)


def sankey_figure(graph: GraphData, *, max_edges: int = 50, theme: ThemeName = "light") -> go.Figure:
    """The strongest flow from the embeddings on the left to the logit on the right.

    A link's width is its absolute weight; blue raises the answer, red lowers it. Where flows of both signs meet, a node
    is as wide as their absolute values together. Components whose own inputs are too weak to be drawn stand left.

    Args:
        graph: Any graph; of a large one its strongest edges are drawn.
        max_edges: How many.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        InputError: ``max_edges`` is less than 1, an unknown theme.

    Example:
        >>> from recursive_dla.figures import sankey_figure
        >>> figure = sankey_figure(attribution_graph(cache, model, " Mary"), max_edges=30)
        >>> figure.data[0].type
        'sankey'
    """
    import plotly.graph_objects as go

    colors = theme_named(theme)
    graph = prune(graph, max_edges=max_edges)
    meta, nodes = graph.metadata, graph.nodes
    unit = unit_of(meta.target.answer)
    tokens = node_tokens(graph)
    ids = nodes["id"].to_numpy()
    full = [f"<b>{escape(node)}</b> {escape(token)}" for node, token in zip(ids, tokens, strict=True)]
    # The id ends in the position; the token's text follows it.
    texts = [visible(meta.tokens[pos].text, 14) for pos in nodes["pos"]]
    figure = go.Figure(
        go.Sankey(
            arrangement="snap",
            node={
                "label": [escape(f"{node} {text}") for node, text in zip(ids, texts, strict=True)],
                "color": np.where(nodes["attribution"] >= 0, colors.raises, colors.lowers),
                "line": {"width": 0},
                "pad": 12,
                "thickness": 12,
                "customdata": [
                    f"{name}<br>{signed(attribution, 4)}{unit}"
                    for name, attribution in zip(full, nodes["attribution"].tolist(), strict=True)
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
            },
            link={
                "source": graph.edge_source,
                "target": graph.edge_target,
                "value": np.abs(graph.edge_weight).astype(float),
                "color": [_faint(colors, weight) for weight in graph.edge_weight.tolist()],
                "customdata": [
                    f"{full[source]}<br>→ {full[target]}<br>{signed(weight, 4)}{unit}"
                    for source, target, weight in zip(
                        graph.edge_source, graph.edge_target, graph.edge_weight.tolist(), strict=True
                    )
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
            },
            textfont={"color": colors.text, "size": 11, "shadow": "none"},
        )
    )
    figure.update_layout(
        layout(
            f"{meta.target.label}: {signed(meta.value)}{unit}",
            f"{meta.model}; the {len(graph.edge_weight)} strongest edges, from the embeddings to the logit;"
            " blue raises, red lowers",
            colors,
            width=1300,
            height=max(560, 24 * len(nodes)),
            margin={"l": 24, "r": 24, "t": 80, "b": 24},
        )
    )
    return figure


def _faint(theme: Theme, weight: float) -> str:
    red, green, blue = rgb(theme.color_of(weight))
    return f"rgba({red},{green},{blue},0.45)"
