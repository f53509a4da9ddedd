"""Attribution graphs as plain data: components at token positions, and what flows between them into the logit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from recursive_dla.attribution.provenance import Provenance

# Nodes that read nothing: what a logit is traced back to.
LEAF_KINDS = ("embed", "pos_embed", "bias", "remainder")


@dataclass(frozen=True)
class Member:
    """A node that is in a group, as it was before."""

    id: str
    kind: str
    component: str
    layer: int
    head: int
    pos: int
    attribution: float


@dataclass(frozen=True)
class GraphMetadata(Provenance):
    """Where a graph comes from: its provenance, and how it was made.

    Attributes:
        completeness_error: The larger of ``|Σ leaves − value|``, relative to ``value``, and the worst node's
            ``|Σ in-edges + constants − attribution|``, relative to the largest attribution; before any pruning.
        pruning: What :meth:`AttributionGraph.prune` and its like were asked for and what they left; ``None`` for a
            complete graph.
        groups: The members of each node that :meth:`AttributionGraph.group` made.
    """

    completeness_error: float
    rule: str
    generator: str
    pruning: Mapping[str, Any] | None = None
    groups: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class GraphData:
    """A flow network from embeddings and biases, through heads and MLPs, to one logit.

    For every node, Σ in-edges + ``rest_in`` = ``attribution`` = Σ out-edges + ``rest_out``, in logits. The rests are
    what pruning cut, and zero in a complete graph. Leaves have no in-edges, and the logit has no out-edges.

    Attributes:
        nodes: One row for each component at each position that has an edge: components in writing order, the logit,
            then constants. ``id`` is like
            ``L23H3@14``, ``L0MLP@4``, ``embed@4``, ``L3.b_O@4``, ``logit@14``; ``kind`` is ``embed``, ``pos_embed``,
            ``head``, ``mlp``, ``bias``, ``remainder``, ``logit`` or ``group``; ``component`` is the label that the
            cache's methods use. Embeddings are at layer -1, the logit at ``n_layers``; ``head`` is -1 where there is
            none.
        edge_source: For each edge, the row of its source in ``nodes``.
        edge_target: For each edge, the row of its destination.
        edge_weight: For each edge, what flows along it; logits, positive raises the answer.
        metadata: Where the graph comes from.
    """

    nodes: pd.DataFrame
    edge_source: np.ndarray
    edge_target: np.ndarray
    edge_weight: np.ndarray
    metadata: GraphMetadata

    @cached_property
    def edges(self) -> pd.DataFrame:
        """One row per edge: the ids of ``source`` and ``target``, and the ``weight`` in logits."""
        ids = pd.Index(self.nodes["id"])
        return pd.DataFrame(
            {
                "source": pd.Categorical.from_codes(self.edge_source, categories=ids),
                "target": pd.Categorical.from_codes(self.edge_target, categories=ids),
                "weight": self.edge_weight,
            }
        )

    @cached_property
    def is_leaf(self) -> np.ndarray:
        """For each node, whether it is a leaf, which reads nothing: an embedding, a bias, a remainder, or a group of
        such. Other nodes without in-edges are those whose in-edges were cut.
        """
        groups = {name for name, members in self.metadata.groups.items() if members[0].kind in LEAF_KINDS}
        return (self.nodes["kind"].isin(LEAF_KINDS) | self.nodes["id"].isin(groups)).to_numpy(dtype=bool)


# What prunes, selects or groups gives back what it was given: plain data, or a class that adds methods to it.
Graph = TypeVar("Graph", bound=GraphData)
