"""Attribution graphs: components at token positions, and what flows between them into the logit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recursive_dla.errors import InputError

if TYPE_CHECKING:
    import networkx as nx
    import plotly.graph_objects as go

    from recursive_dla.figures.style import ThemeName


@dataclass(frozen=True)
class Token:
    """One token of the prompt."""

    pos: int
    token_id: int | None
    text: str


@dataclass(frozen=True)
class GraphTarget:
    """What a graph explains: an answer, perhaps less a wrong one, or a direction (neither), at a position."""

    label: str
    answer: str | None
    wrong_answer: str | None
    pos: int


@dataclass(frozen=True)
class GraphMetadata:
    """Where a graph comes from.

    Attributes:
        value: The logit, or logit difference, that is explained.
        completeness_error: The larger of ``|Σ leaves − value|``, relative to ``value``, and the worst node's
            ``|Σ in-edges + constants − attribution|``, relative to the largest attribution; before any pruning.
        pruning: What :meth:`AttributionGraph.prune` was asked for and what it left; ``None`` for a complete graph.
    """

    model: str
    tokens: tuple[Token, ...]
    n_layers: int
    n_heads: int
    target: GraphTarget
    value: float
    completeness_error: float
    rule: str
    generator: str
    pruning: Mapping[str, Any] | None = None

    @property
    def prompt(self) -> str:
        return "".join(token.text for token in self.tokens)


@dataclass(frozen=True, eq=False)
class AttributionGraph:
    """A flow network from embeddings and biases, through heads and MLPs, to one logit.

    For every node, Σ in-edges + ``rest_in`` = ``attribution`` = Σ out-edges + ``rest_out``, in logits. The rests are
    what pruning cut, and zero in a complete graph. Leaves have no in-edges, and the logit has no out-edges.

    Attributes:
        nodes: One row for each component at each position that has an edge: components in writing order, the logit,
            then constants. ``id`` is like
            ``L23H3@14``, ``L0MLP@4``, ``embed@4``, ``L3.b_O@4``, ``logit@14``; ``kind`` is ``embed``, ``pos_embed``,
            ``head``, ``mlp``, ``bias``, ``remainder`` or ``logit``; ``component`` is the label that the cache's methods
            use. Embeddings are at layer -1, the logit at ``n_layers``; ``head`` is -1 where there is none.
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

    def prune(self, *, max_edges: int | None = None, min_share: float | None = None) -> AttributionGraph:
        """The strongest edges, and the nodes from which the logit is still reached over them.

        What is cut stays in the nodes' ``rest_in`` and ``rest_out``, so the sums of the kept nodes still hold.

        Args:
            max_edges: Keep at most this many, by absolute weight.
            min_share: Keep those with at least this share of the logit, ``|weight| ≥ min_share · |value|``.

        Raises:
            InputError: Neither is given, or one is out of range.
        """
        if max_edges is None and min_share is None:
            raise InputError("Give `max_edges`, `min_share` or both; nothing says what to prune.")
        if max_edges is not None and max_edges < 1:
            raise InputError(f"`max_edges` must be at least 1. Got {max_edges}.")
        if min_share is not None and not min_share >= 0:
            raise InputError(f"`min_share` must be at least 0. Got {min_share}.")
        size = np.abs(self.edge_weight)
        keep = np.ones(len(size), dtype=bool)
        if min_share is not None:
            keep &= size >= min_share * abs(self.metadata.value)
        if max_edges is not None and keep.sum() > max_edges:
            # A stable sort breaks ties by the edges' own order, so the result is always the same.
            strongest = np.argsort(-np.where(keep, size, -1), kind="stable")[:max_edges]
            keep = np.zeros_like(keep)
            keep[strongest] = True
        reached = self._reaching_logit(keep)
        keep &= reached[self.edge_target]
        settings = {"max_edges": max_edges, "min_share": min_share}
        return self._keeping(keep, reached, {name: value for name, value in settings.items() if value is not None})

    def _reaching_logit(self, keep: np.ndarray) -> np.ndarray:
        reached = (self.nodes["kind"] == "logit").to_numpy(copy=True)
        source, target = self.edge_source[keep], self.edge_target[keep]
        count = 0
        # One round per layer of the longest path, not per edge.
        while count != (count := int(reached.sum())):
            reached[source[reached[target]]] = True
        return reached

    def _keeping(self, keep: np.ndarray, reached: np.ndarray, settings: dict[str, Any]) -> AttributionGraph:
        nodes = self.nodes.copy()
        cut = self.edge_weight[~keep].astype(np.float64)
        for column, ends in (("rest_in", self.edge_target), ("rest_out", self.edge_source)):
            nodes[column] += np.bincount(ends[~keep], weights=cut, minlength=len(nodes))
        rows = np.cumsum(reached) - 1
        before = self.metadata.pruning or {"nodes_before": len(self.nodes), "edges_before": len(self.edge_weight)}
        return replace(
            self,
            nodes=nodes[reached].reset_index(drop=True),
            edge_source=rows[self.edge_source[keep]].astype(np.int32),
            edge_target=rows[self.edge_target[keep]].astype(np.int32),
            edge_weight=self.edge_weight[keep],
            metadata=replace(self.metadata, pruning={**before, **settings}),
        )

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

        from recursive_dla.export import metadata_document

        digraph = nx.DiGraph(**metadata_document(self.metadata))
        attributes = self.nodes.drop(columns="id").to_dict("index")
        digraph.add_nodes_from(zip(self.nodes["id"], attributes.values(), strict=True))
        ids = self.nodes["id"].to_numpy()
        digraph.add_weighted_edges_from(
            zip(ids[self.edge_source], ids[self.edge_target], self.edge_weight.tolist(), strict=True)
        )
        return digraph

    def save(self, path: str | Path) -> Path:
        """Write the graph to ``path``, in the format its extension names: ``.json`` or ``.html``.

        The file appears whole or not at all, and is the same to the byte for the same graph.

        Raises:
            InputError: An unknown extension, a path that cannot be written, or a graph too large for a page.
        """
        from recursive_dla.export import save

        return save(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> AttributionGraph:
        """The graph that :meth:`save` wrote to a ``.json`` file.

        Raises:
            InputError: There is no such file, or it does not hold a graph.
        """
        from recursive_dla.export import load

        return load(Path(path))

    def figure(self, max_edges: int = 150, theme: ThemeName = "light") -> go.Figure:
        """The graph as a plotly picture, layer over token; of large graphs the strongest edges.

        See :func:`recursive_dla.figures.graph_figure`, and :mod:`recursive_dla.figures` for others.
        """
        from recursive_dla.figures import graph_figure

        return graph_figure(self, max_edges=max_edges, theme=theme)

    def __str__(self) -> str:
        meta = self.metadata
        lines = [
            f"AttributionGraph of {meta.target.label} at {meta.target.pos}: {meta.value:+.4f} logits, "
            f"{len(self.nodes):,} nodes, {len(self.edge_weight):,} edges",
            f"{meta.model}, rule {meta.rule}, completeness error {meta.completeness_error:.1e}",
        ]
        if meta.pruning:
            lines.append(
                f"pruned from {meta.pruning['nodes_before']:,} nodes and {meta.pruning['edges_before']:,} edges"
            )
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from recursive_dla.display import graph_html

        return graph_html(self)
