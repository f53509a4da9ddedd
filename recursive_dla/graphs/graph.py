"""Attribution graphs: components at token positions, and what flows between them into the logit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recursive_dla.attribution.provenance import Provenance

if TYPE_CHECKING:
    import networkx as nx
    import plotly.graph_objects as go

    from recursive_dla.cache.slices import SliceInput
    from recursive_dla.graphs.comparison import Align, GraphDifference
    from recursive_dla.graphs.grouping import GroupBy
    from recursive_dla.graphs.pruning import Layers, Names
    from recursive_dla.output.figures.style import ThemeName

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
class AttributionGraph:
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

    Example:
        >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John").prune(max_edges=500)
        >>> graph.edges.sort_values("weight").iloc[-1].tolist()[:2]
        ['embed@4', 'L0MLP@4']
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

    def influence(self) -> pd.Series[float]:
        """What share of the logit each node has over all paths, by absolute weight; indexed by the nodes' ids.

        A node's in-edges share it in proportion to ``|weight|``, a path has the product of its edges' shares, and a
        node the sum over all paths from it to the logit. The logit has 1; in a complete graph the leaves sum to 1.

        Source: Ameisen et al. 2025, "Circuit Tracing", appendix on graph pruning.

        Example:
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
            >>> influence = graph.influence()
            >>> round(float(influence[graph.is_leaf].sum()), 6)
            1.0
        """
        from recursive_dla.graphs.pruning import node_influence

        return node_influence(self)

    def prune(
        self,
        *,
        max_edges: int | None = None,
        min_share: float | None = None,
        node_influence: float | None = None,
        edge_influence: float | None = None,
    ) -> AttributionGraph:
        """The strongest edges, and the nodes from which the logit is still reached over them.

        What is cut stays in the nodes' ``rest_in`` and ``rest_out``, so the sums of the kept nodes still hold. How much
        of the logit and of the influence is left is in ``metadata.pruning`` (see
        :func:`recursive_dla.graphs.pruning.keep`) and printed with the graph. The steps go in this order:

        Args:
            node_influence: Keep the nodes that hold this share of all nodes' influence (0.8 is usual), the strongest
                first, and all token embeddings. Nodes left without in-edges or without out-edges go.
            edge_influence: Keep the edges that hold this share of all that are left (0.98 is usual); an edge's
                influence is its share of its target's times that of the target, among what is left. Nodes left without
                in-edges or without out-edges go.
            min_share: Keep edges with at least this share of the logit, ``|weight| ≥ min_share · |value|``.
            max_edges: Keep at most this many, by absolute weight.

        Raises:
            InputError: None is given, or one is out of range.

        Source: influence as in Ameisen et al. 2025, "Circuit Tracing", and circuit-tracer's ``prune_graph``, with two
        differences: there is one logit, and embeddings that are left without edges go too.

        Example:
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
            >>> small = graph.prune(node_influence=0.8, edge_influence=0.98)
            >>> len(small.nodes) < len(graph.nodes), small.metadata.pruning["influence_kept"] > 0.1
            (True, True)
        """
        from recursive_dla.graphs.pruning import prune

        return prune(
            self,
            max_edges=max_edges,
            min_share=min_share,
            node_influence=node_influence,
            edge_influence=edge_influence,
        )

    def select(
        self,
        *,
        kinds: Names | None = None,
        layers: Layers | None = None,
        positions: SliceInput = None,
        ids: Names | None = None,
    ) -> AttributionGraph:
        """The nodes that fit all that is given, and the logit; with the edges between them.

        What is cut stays in ``rest_in`` and ``rest_out``. Nodes that no longer lead to the logit stay;
        ``.prune(min_share=0)`` takes them out.

        Args:
            kinds: One kind or several, as in ``nodes``.
            layers: One layer or several, such as ``range(20, 30)``; embeddings are at -1.
            positions: As any slice of the package: an int, a slice, a list; negative from the end.
            ids: Ids such as ``"L23H3@14"``, or names such as ``"L23H3"`` for all positions.

        Raises:
            InputError: Nothing is given, or something that the graph does not have.

        Example:
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
            >>> sorted(graph.select(kinds=["embed", "head"], layers=[-1, 0], positions=-1).nodes["id"])[:2]
            ['L0H0@14', 'L0H1@14']
        """
        from recursive_dla.graphs.pruning import Selection, select

        return select(self, Selection(kinds, layers, positions, ids))

    def drop(
        self,
        *,
        kinds: Names | None = None,
        layers: Layers | None = None,
        positions: SliceInput = None,
        ids: Names | None = None,
    ) -> AttributionGraph:
        """All but the nodes that fit all that is given; the logit always stays. Arguments are those of :meth:`select`.

        Example:
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
            >>> small = graph.drop(positions=0).drop(ids="L0MLP")
            >>> int(small.nodes["pos"].min()), "L0MLP@4" in set(small.nodes["id"])
            (1, False)
        """
        from recursive_dla.graphs.pruning import Selection, drop

        return drop(self, Selection(kinds, layers, positions, ids))

    def group(self, by: GroupBy) -> AttributionGraph:
        """Nodes merged into groups: edges between groups are summed, and edges inside one are left out.

        A group's attribution is what flows through it, so its sums hold as those of any node: Σ in-edges from outside
        + ``rest_in`` = attribution = Σ out-edges to outside + ``rest_out``. That is Σ members' attributions less what
        flows from member to member. Its ``kind`` is ``group``, its ``pos`` and ``layer`` those of its last member, and
        ``metadata.groups`` has the members.

        Args:
            by: ``"layer"``: all heads of a layer at a position become ``L5.heads@14``. ``"word"``: the tokens of a word
                become one, each component by itself: ``L5H2@3-4``. ``"position"``: all heads and MLPs at a position
                become ``inner@14``, its biases and remainders ``constants@14``. Or groups by hand: a mapping of names
                to ids (or to names for all positions, as in :meth:`select`), or a function of a row of ``nodes`` that
                returns a name or ``None``.

        Raises:
            InputError: A group that mixes leaves with nodes that read, one that holds the logit, groups that overlap or
                share a name with a node, or groups that would make the graph go in a circle, as heads of two layers do
                where something between them reads the one and is read by the other. Sums over paths would mean nothing
                then; ``select`` what matters first, or take what lies between into the group.

        Example:
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
            >>> movers = graph.group({"name movers": ["L23H1@14", "L23H3@14"]})
            >>> [member.id for member in movers.metadata.groups["name movers"]]
            ['L23H1@14', 'L23H3@14']
        """
        from recursive_dla.graphs.grouping import group

        return group(self, by)

    def compare(self, other: AttributionGraph, *, align: Align = None) -> GraphDifference:
        """What changes from this graph to another: see :func:`recursive_dla.compare`."""
        from recursive_dla.graphs.comparison import compare

        return compare(self, other, align=align)

    def to_networkx(self) -> nx.DiGraph:
        """A ``networkx.DiGraph`` with the columns of ``nodes`` and ``edges`` as attributes, and the metadata on the
        graph.

        Example:
            >>> import networkx as nx
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John").prune(max_edges=500)
            >>> nx.is_directed_acyclic_graph(graph.to_networkx())
            True
        """
        import networkx as nx

        from recursive_dla.output.files import metadata_document

        digraph = nx.DiGraph(**metadata_document(self.metadata))
        attributes = self.nodes.drop(columns="id").to_dict("index")
        digraph.add_nodes_from(zip(self.nodes["id"], attributes.values(), strict=True))
        ids = self.nodes["id"].to_numpy()
        digraph.add_weighted_edges_from(
            zip(ids[self.edge_source], ids[self.edge_target], self.edge_weight.tolist(), strict=True)
        )
        return digraph

    def save(self, path: str | Path) -> Path:
        """Write the graph to ``path``, in the format its extension names.

        ``.json`` and ``.json.gz`` are the package's own, ``.html`` a page to explore; ``.csv``, ``.parquet``,
        ``.graphml``, ``.gexf``, ``.node-link.json``, ``.dot``, ``.mmd``, ``.svg``, ``.png`` and ``.circuit.json`` are
        for other programs: see :mod:`recursive_dla.output.files`. A file appears whole or not at all, and is the same to the
        byte for the same graph.

        Raises:
            InputError: An unknown extension, one whose format needs a package that is not installed, a path that cannot
                be written, or a graph too large for a page.

        Example:
            >>> import tempfile
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John").prune(max_edges=50)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = graph.save(f"{folder}/mary.graphml")
            ...     AttributionGraph.load(path).edges.equals(graph.edges)
            True
        """
        from recursive_dla.output.files import save

        return save(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> AttributionGraph:
        """The graph that :meth:`save` wrote: any of ``.json``, ``.json.gz``, ``.html``, ``.csv``, ``.parquet``,
        ``.graphml`` and ``.node-link.json``, without loss.

        Loading runs no code, and checks all that it reads.

        Raises:
            InputError: There is no such file, it does not hold a graph, or its format cannot be read back.
        """
        from recursive_dla.output.files import load

        return load(Path(path))

    def figure(self, max_edges: int = 150, theme: ThemeName = "light") -> go.Figure:
        """The graph as a plotly picture, layer over token; of large graphs the strongest edges.

        See :func:`recursive_dla.output.figures.graph_figure`, and :mod:`recursive_dla.output.figures` for others.
        """
        from recursive_dla.output.figures import graph_figure

        return graph_figure(self, max_edges=max_edges, theme=theme)

    def __str__(self) -> str:
        meta = self.metadata
        lines = [
            f"AttributionGraph of {meta.target.label} at {meta.target.pos}: {meta.value:+.4f} logits, "
            f"{len(self.nodes):,} nodes, {len(self.edge_weight):,} edges",
            f"{meta.model}, rule {meta.rule}, completeness error {meta.completeness_error:.1e}",
        ]
        if meta.groups:
            members = sum(map(len, meta.groups.values()))
            lines.append(f"{members:,} nodes grouped into {len(meta.groups):,}")
        if meta.pruning:
            lines.append(f"pruned {pruning_line(meta)}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from recursive_dla.output.notebook import graph_html

        return graph_html(self)


def pruning_line(metadata: GraphMetadata) -> str:
    """How large a pruned graph was before, and how much of the logit and of the influence is left, where known."""
    pruning, parts = metadata.pruning or {}, []
    if {"nodes_before", "edges_before"} <= pruning.keys():
        parts.append(f"from {pruning['nodes_before']:,} nodes and {pruning['edges_before']:,} edges")
    if {"logit_kept", "influence_kept"} <= pruning.keys():
        left = f"{pruning['logit_kept']:+.4f} of {metadata.value:+.4f} logits"
        parts.append(f"{left} and {pruning['influence_kept']:.1%} of the influence come from its leaves")
    return "; ".join(parts)
