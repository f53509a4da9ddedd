"""The attribution graph: tokens along the bottom, layers upwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from recursive_dla.attribution.labels import token_label
from recursive_dla.graphs.pruning import prune
from recursive_dla.output.figures.plot_parts import escape, layout, token_axis
from recursive_dla.output.places import Places, edge_curves, node_places
from recursive_dla.output.style import Theme, ThemeName, signed, theme_named, unit_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from recursive_dla.graphs.data import GraphData

# Width and opacity classes of edges: plotly draws one trace per style, so there are few.
_EDGE_CLASSES = ((0.5, 4.0, 0.9), (0.2, 2.4, 0.7), (0.08, 1.4, 0.5), (0.0, 0.7, 0.35))
# Pixels around the nodes: the strongest are wider than their row is high where it ends.
_PADDING = 12


def graph_frame(graph: GraphData, *, max_edges: int = 150) -> pd.DataFrame:
    """The strongest edges of a graph, the strongest first.

    Args:
        graph: Any graph.
        max_edges: How many edges at most.

    Returns:
        Columns ``source`` and ``target`` (ids of nodes), ``source_token`` and ``target_token`` (labels such as
        ``10 ·John``) and ``weight`` in logits; positive raises the answer.

    Raises:
        InputError: ``max_edges`` is less than 1.

    Example:
        >>> from recursive_dla.figures import graph_frame
        >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
        >>> graph_frame(graph, max_edges=50).columns.tolist()
        ['source', 'target', 'source_token', 'target_token', 'weight']
    """
    graph = prune(graph, max_edges=max_edges)
    ids = graph.nodes["id"].to_numpy()
    labels = np.array(node_tokens(graph), dtype=object)
    frame = pd.DataFrame(
        {
            "source": ids[graph.edge_source],
            "target": ids[graph.edge_target],
            "source_token": labels[graph.edge_source],
            "target_token": labels[graph.edge_target],
            "weight": graph.edge_weight,
        }
    )
    order = np.argsort(-np.abs(graph.edge_weight), kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def graph_figure(graph: GraphData, *, max_edges: int = 150, theme: ThemeName = "light") -> go.Figure:
    """The graph with tokens along the bottom and layers upwards; blue raises the answer, red lowers it.

    Args:
        graph: Any graph; of a large one its strongest edges are drawn.
        max_edges: How many.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        InputError: ``max_edges`` is less than 1, an unknown theme.

    Example:
        >>> from recursive_dla.figures import graph_figure
        >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
        >>> figure = graph_figure(graph, max_edges=80, theme="dark")
        >>> len(figure.data[-1].x) == len(graph.prune(max_edges=80).nodes)
        True
    """
    import plotly.graph_objects as go

    colors = theme_named(theme)
    graph = prune(graph, max_edges=max_edges)
    meta, nodes = graph.metadata, graph.nodes
    unit = unit_of(meta.target.answer)
    axis = token_axis([token.text for token in meta.tokens])
    places = node_places(graph, axis.length / len(meta.tokens))
    x, y = edge_curves(graph, places)
    figure = go.Figure([*_edge_traces(graph, x, y, colors), _edge_names(graph, x, y, unit)])
    figure.add_trace(
        go.Scatter(
            x=places.x,
            y=places.y,
            mode="markers",
            marker={
                "size": places.size,
                "color": np.where(nodes["attribution"] >= 0, colors.raises, colors.lowers),
                "line": {"color": colors.paper, "width": 1},
                "opacity": 1,
            },
            text=[
                f"<b>{escape(node)}</b> {escape(token)}<br>{signed(attribution, 4)}{unit}"
                for node, token, attribution in zip(
                    nodes["id"], node_tokens(graph), nodes["attribution"].tolist(), strict=True
                )
            ],
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    )
    margin = {"l": 90, "r": 40, "t": 80, "b": axis.room}
    figure.update_layout(
        layout(
            f"{meta.target.label}: {signed(meta.value)}{unit}",
            f"{meta.model}; the {len(graph.edge_weight)} strongest edges; blue raises, red lowers",
            colors,
            width=places.width + 2 * _PADDING + margin["l"] + margin["r"],
            height=places.height + 2 * _PADDING + margin["t"] + margin["b"],
            margin=margin,
            xaxis={
                **axis.settings,
                "tickvals": places.columns[axis.settings["tickvals"]],
                "range": [-_PADDING, places.width + _PADDING],
            },
            yaxis=_layer_axis(graph, places, colors),
            hovermode="closest",
        )
    )
    return figure


def node_tokens(graph: GraphData) -> list[str]:
    """The label of each node's token."""
    texts = [token.text for token in graph.metadata.tokens]
    return [token_label(pos, texts[pos], 120) for pos in graph.nodes["pos"]]


def _layer_axis(graph: GraphData, places: Places, theme: Theme) -> dict[str, object]:
    n_layers = graph.metadata.n_layers
    used = sorted({layer for layer in graph.nodes["layer"] if 0 <= layer < n_layers})
    shown = [-1, *used, n_layers]
    top = graph.nodes.loc[graph.nodes["kind"] == "logit", "id"]
    names = {-1: "embedding", n_layers: top.iloc[0].split("@")[0] if len(top) else ""}
    return {
        "tickvals": [places.rows[layer + 1] for layer in shown],
        "ticktext": [names.get(layer, f"L{layer}") for layer in shown],
        "range": [-_PADDING, places.height + _PADDING],
        "zeroline": False,
        "gridcolor": theme.faint + "22",
        "tickfont": {"size": 11},
    }


def _edge_traces(graph: GraphData, x: np.ndarray, y: np.ndarray, theme: Theme) -> list[go.Scatter]:
    import plotly.graph_objects as go

    strength = np.abs(graph.edge_weight) / max(np.abs(graph.edge_weight).max(initial=0), 1e-12)
    upper = np.inf
    traces = []
    for lower, width, opacity in _EDGE_CLASSES:
        for color, positive in ((theme.raises, True), (theme.lowers, False)):
            chosen = (strength >= lower) & (strength < upper) & ((graph.edge_weight >= 0) == positive)
            # A gap after each, since a trace is one line.
            ended = ((0, 0), (0, 1))
            traces.append(
                go.Scatter(
                    x=np.pad(x[chosen], ended, constant_values=np.nan).flatten(),
                    y=np.pad(y[chosen], ended, constant_values=np.nan).flatten(),
                    mode="lines",
                    line={"color": color, "width": width},
                    opacity=opacity,
                    hoverinfo="skip",
                    showlegend=False,
                )
            )
        upper = lower
    # Strong edges over weak ones.
    return traces[::-1]


def _edge_names(graph: GraphData, x: np.ndarray, y: np.ndarray, unit: str) -> go.Scatter:
    """Points in the middle of edges that cannot be seen: plotly shows hover text of points only, not of lines."""
    import plotly.graph_objects as go

    source, target = graph.edge_source, graph.edge_target
    ids, tokens = graph.nodes["id"].to_numpy(), node_tokens(graph)
    return go.Scatter(
        x=x[:, x.shape[1] // 2],
        y=y[:, y.shape[1] // 2],
        mode="markers",
        marker={"size": 8, "opacity": 0},
        text=[
            f"<b>{escape(ids[one])}</b> {escape(tokens[one])}<br>→ <b>{escape(ids[other])}</b>"
            f" {escape(tokens[other])}<br>{signed(weight, 4)}{unit}"
            for one, other, weight in zip(source, target, graph.edge_weight.tolist(), strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
