"""What the explorer and the figures draw alike: ``geometry.json`` holds each number once, for both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

__all__ = ["GEOMETRY", "Geometry"]


@dataclass(frozen=True)
class Geometry:
    """The numbers of ``geometry.json``.

    Attributes:
        lanes: The place of each lane within a layer's row, from below. An edge of the model's own order thus always
            runs upwards: what the layer's attention reads, its attention, what only its MLP reads, its MLP.
        largest_radius_px: Radius of the strongest node.
        edge_lift_of_rise: An edge leaves its source upwards and reaches its target from below. Its curve's inner points
            are this part of the height between the two above the source and below the target.
        edge_bow_of_rise: An edge within a column bows aside, since a straight one would run through the nodes between:
            its curve's inner points are this part of its height to the right,
        edge_bow_most_px: and no more than this.
        edge_upright_slope: An edge bows the less the more it leans, and not at all once it leads sideways by this part
            of its height and a pixel.
    """

    lanes: dict[str, int]
    largest_radius_px: float
    edge_lift_of_rise: float
    edge_bow_of_rise: float
    edge_bow_most_px: float
    edge_upright_slope: float


_FILE = resources.files(__package__).joinpath("explorer", "geometry.json")
GEOMETRY = Geometry(**json.loads(_FILE.read_text(encoding="utf-8")))
