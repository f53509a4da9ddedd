"""Figures of graphs, as plotly objects: returned, never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from recursive_dla.graph import AttributionGraph

RAISES, LOWERS = "#2166ac", "#b2182b"
# Width and opacity classes of edges: plotly draws one trace per style, so there are few.
_EDGE_CLASSES = ((0.5, 4.0, 0.9), (0.2, 2.4, 0.7), (0.08, 1.4, 0.5), (0.0, 0.7, 0.35))


def graph_figure(graph: AttributionGraph, *, max_edges: int = 150) -> go.Figure:
    """The graph with tokens along the bottom and layers upwards; blue raises the answer, red lowers it.

    Args:
        graph: Any graph; of a large one its strongest edges are drawn.
        max_edges: How many.
    """
    import plotly.graph_objects as go

    if len(graph.edge_weight) > max_edges:
        graph = graph.prune(max_edges=max_edges)
    nodes = graph.nodes
    x, y = _places(graph)
    figure = go.Figure()
    for trace in _edge_traces(graph, x, y):
        figure.add_trace(trace)
    size = np.abs(nodes["attribution"].to_numpy(dtype=float))
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode="markers",
            marker={
                "size": 6 + 20 * np.sqrt(size / max(size.max(initial=0), 1e-12)),
                "color": np.where(nodes["attribution"] >= 0, RAISES, LOWERS),
                "line": {"color": "white", "width": 1},
            },
            text=[
                f"<b>{_escape(node)}</b> {_escape(repr(token))}<br>{attribution:+.3f} logits"
                for node, token, attribution in zip(nodes["id"], nodes["token"], nodes["attribution"], strict=True)
            ],
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    )
    meta = graph.metadata
    tokens = [
        f"{_escape(_visible(token.text))}<br><span style='font-size:9px'>{token.pos}</span>" for token in meta.tokens
    ]
    used = sorted({layer for layer in nodes["layer"] if 0 <= layer < meta.n_layers})
    step = max(1, len(used) // 15)
    shown = [-1, *used[::step], meta.n_layers]
    names = {-1: "embedding", meta.n_layers: "logit"}
    figure.update_layout(
        template="plotly_white",
        title={
            "text": f"{_escape(meta.target.label)}: {meta.value:+.3f} logits<br>"
            f"<sup>{_escape(meta.model)}, the {len(graph.edge_weight)} strongest edges; blue raises, red lowers</sup>"
        },
        xaxis={
            "tickvals": list(range(len(tokens))),
            "ticktext": tokens,
            "range": [-0.6, len(tokens) - 0.4],
            "showgrid": False,
            "tickangle": 0 if len(tokens) <= 20 else 90,
        },
        yaxis={"tickvals": shown, "ticktext": [names.get(layer, f"L{layer}") for layer in shown], "zeroline": False},
        hovermode="closest",
        width=max(900, 56 * len(tokens)),
        height=760,
    )
    return figure


def _places(graph: AttributionGraph) -> tuple[np.ndarray, np.ndarray]:
    """Where nodes go: their token and layer, those that share both side by side in order."""
    nodes = graph.nodes
    # Within a layer's row: attention and its biases low, the MLP above.
    y = nodes["layer"] + np.select([nodes["kind"] == "mlp", nodes["kind"] == "head"], [0.25, -0.15], 0.0)
    cell = nodes.groupby(["pos", y])["id"]
    index, count = cell.cumcount(), cell.transform("size")
    spread = np.minimum(0.14, 0.8 / count)
    return (nodes["pos"] + (index - (count - 1) / 2) * spread).to_numpy(dtype=float), y.to_numpy(dtype=float)


def _edge_traces(graph: AttributionGraph, x: np.ndarray, y: np.ndarray) -> list[go.Scatter]:
    import plotly.graph_objects as go

    strength = np.abs(graph.edge_weight) / max(np.abs(graph.edge_weight).max(initial=0), 1e-12)
    upper = np.inf
    traces = []
    for lower, width, opacity in _EDGE_CLASSES:
        for color, positive in ((RAISES, True), (LOWERS, False)):
            chosen = (strength >= lower) & (strength < upper) & ((graph.edge_weight >= 0) == positive)
            source, target = graph.edge_source[chosen], graph.edge_target[chosen]
            gap = np.full(len(source), np.nan)
            traces.append(
                go.Scatter(
                    x=np.stack([x[source], x[target], gap], axis=1).flatten(),
                    y=np.stack([y[source], y[target], gap], axis=1).flatten(),
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


def _visible(text: str) -> str:
    """Whitespace and control characters made visible."""
    return "".join({"\n": "⏎", "\t": "⇥", " ": "·"}.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in text)


def _escape(text: str) -> str:
    """Plotly reads a little HTML in labels; tokens must not be read as that."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
