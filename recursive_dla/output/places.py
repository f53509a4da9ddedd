"""Where the nodes of a graph stand when it is drawn: tokens to the right, layers upwards, none on another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from recursive_dla.output.geometry import GEOMETRY

if TYPE_CHECKING:
    from recursive_dla.graphs.data import GraphData

# Pixels: the diameter of the weakest node, what the strongest has more, between neighbours, and the least height of a
# layer's row.
_SMALLEST = 6.0
_GROWTH = 2 * GEOMETRY.largest_radius_px - _SMALLEST
_GAP, _LOWEST_ROW = 3.0, 15.0
_LANES = GEOMETRY.lanes
# Along an edge, closer together where it turns.
_STEPS = (1 - np.cos(np.linspace(0, np.pi, 21))) / 2


@dataclass(frozen=True)
class Places:
    """Pixels from the lower left corner.

    ``x``, ``y`` and ``size`` (a diameter) have one number per node, ``columns`` the middle of each token's column, and
    ``rows`` that of each layer's row, from the embeddings' (-1) to the logit's.
    """

    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    width: float
    height: float


def node_places(graph: GraphData, column: float) -> Places:
    """Places for all nodes; those that share a token and a lane stand side by side in order.

    Args:
        graph: Any graph.
        column: Pixels of a token's column, which grows where its nodes need more.
    """
    nodes, meta = graph.nodes, graph.metadata
    strength = np.abs(nodes["attribution"].to_numpy(dtype=float))
    size = _SMALLEST + _GROWTH * np.sqrt(strength / max(strength.max(initial=0), 1e-12))
    room = pd.Series(size + _GAP)

    pos, row = nodes["pos"].to_numpy(), nodes["layer"].to_numpy() + 1
    lane = len(_LANES) * row + _lanes(graph)

    cells = room.groupby([pos, lane])
    taken = cells.transform("sum").to_numpy()
    widths = np.full(len(meta.tokens), float(column))
    np.maximum.at(widths, pos, taken + 2 * _GAP)
    columns = np.cumsum(widths) - widths / 2

    lanes = np.zeros((meta.n_layers + 2) * len(_LANES))
    np.maximum.at(lanes, lane, room.to_numpy())
    needed = lanes.reshape(-1, len(_LANES))
    spare = np.maximum(_LOWEST_ROW - needed.sum(1), 0)
    heights = needed.sum(1) + spare
    bottoms = np.cumsum(heights) - heights
    middles = bottoms[:, None] + spare[:, None] / 2 + np.cumsum(needed, 1) - needed / 2
    return Places(
        x=columns[pos] + cells.cumsum().to_numpy() - (room.to_numpy() + taken) / 2,
        y=middles.flatten()[lane],
        size=size,
        columns=columns,
        rows=bottoms + heights / 2,
        width=float(widths.sum()),
        height=float(heights.sum()),
    )


def _lanes(graph: GraphData) -> np.ndarray:
    kind, layer = graph.nodes["kind"].to_numpy(), graph.nodes["layer"].to_numpy()
    source, target = graph.edge_source, graph.edge_target
    near = layer[source] == layer[target]
    by_mlp, by_other = np.zeros((2, len(kind)), dtype=bool)
    by_mlp[source[near & (kind[target] == "mlp")]] = True
    by_other[source[near & (kind[target] != "mlp")]] = True
    return np.select(
        [kind == "mlp", kind == "head", by_other, by_mlp],
        [_LANES["mlp"], _LANES["attention"], _LANES["read_by_attention"], _LANES["read_by_mlp"]],
        _LANES["attention"],
    )


def edge_curves(graph: GraphData, places: Places) -> tuple[np.ndarray, np.ndarray]:
    """Points along each edge, ``[edge point]``: it leaves its source upwards and reaches its target from below."""
    x0, y0 = places.x[graph.edge_source, None], places.y[graph.edge_source, None]
    x1, y1 = places.x[graph.edge_target, None], places.y[graph.edge_target, None]
    rise = y1 - y0
    upright = 1 - np.minimum(1, np.abs(x1 - x0) / (GEOMETRY.edge_upright_slope * np.abs(rise) + 1))
    bow = np.minimum(GEOMETRY.edge_bow_most_px, GEOMETRY.edge_bow_of_rise * np.abs(rise)) * upright
    lift = GEOMETRY.edge_lift_of_rise * rise
    t = _STEPS[None]
    start, first, second, end = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
    return (
        start * x0 + first * (x0 + bow) + second * (x1 + bow) + end * x1,
        start * y0 + first * (y0 + lift) + second * (y1 - lift) + end * y1,
    )
