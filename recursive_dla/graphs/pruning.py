"""Parts of an attribution graph, by influence, by weight, or by what the nodes are; the sums of what is kept hold.

What is cut stays in the nodes' ``rest_in`` and ``rest_out``. How much of the logit and of the influence is left is
measured each time: see :func:`keep`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from recursive_dla.cache.slices import Slice, SliceInput
from recursive_dla.errors import InputError
from recursive_dla.graphs.data import Graph, GraphData
from recursive_dla.graphs.flow import (
    CycleError,
    LevelledEdges,
    by_level,
    edge_influence,
    fed_by,
    influence,
    leading_to,
    node_levels,
    totals,
    traced,
)

Names = str | Iterable[str]
Layers = int | Iterable[int]


def node_influence(graph: GraphData) -> pd.Series[float]:
    """See :meth:`recursive_dla.AttributionGraph.influence`."""
    found = influence(_levelled(graph), root_row(graph))
    return pd.Series(found, index=pd.Index(graph.nodes["id"]), name="influence")


def prune(
    graph: Graph,
    *,
    max_edges: int | None = None,
    min_share: float | None = None,
    node_influence: float | None = None,
    edge_influence: float | None = None,
) -> Graph:
    """See :meth:`recursive_dla.AttributionGraph.prune`."""
    settings = checked_settings(
        only_given(
            node_influence=node_influence, edge_influence=edge_influence, min_share=min_share, max_edges=max_edges
        )
    )
    kept = np.ones(len(graph.edge_weight), dtype=bool)
    if node_influence is not None or edge_influence is not None:
        kept = _influential(graph, node_influence, edge_influence)
    size = np.abs(graph.edge_weight)
    if min_share is not None:
        kept &= size >= min_share * abs(graph.metadata.value)
    if max_edges is not None:
        kept = strongest(size, kept, max_edges)
    root = np.zeros(len(graph.nodes), dtype=bool)
    root[root_row(graph)] = True
    reached = leading_to(_levelled(graph, kept), root)
    kept &= reached[graph.edge_target]
    return keep(graph, reached, kept, settings)


def only_given(**settings: Any) -> dict[str, Any]:
    """Those that are not ``None``."""
    return {name: value for name, value in settings.items() if value is not None}


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of :func:`prune` as plain numbers, which every file format can hold; for before work starts, too.

    Raises:
        InputError: No setting, or one that is out of range.
    """
    if not settings:
        raise InputError(
            "Give `max_edges`, `min_share`, `node_influence` or `edge_influence`; nothing says what to prune."
        )
    checked: dict[str, Any] = {}
    for name, value in settings.items():
        try:
            number = checked[name] = operator.index(value) if name == "max_edges" else float(value)
        except (TypeError, ValueError):
            kind = "an integer" if name == "max_edges" else "a number"
            raise InputError(f"`{name}` must be {kind}. Got {value!r}.") from None
        if name == "max_edges" and number < 1:
            raise InputError(f"`max_edges` must be at least 1. Got {value}.")
        if name == "min_share" and not 0 <= number < math.inf:
            raise InputError(f"`min_share` must be at least 0, and finite. Got {value}.")
        if name in ("node_influence", "edge_influence") and not 0 < number <= 1:
            raise InputError(f"`{name}` is a share, above 0 and at most 1. Got {value}.")
    return checked


def _influential(graph: GraphData, of_nodes: float | None, of_edges: float | None) -> np.ndarray:
    """Which edges are left of those with the most influence, and lie on a path from a leaf to the logit."""
    root, n_nodes = root_row(graph), len(graph.nodes)
    source, target = graph.edge_source, graph.edge_target
    level = _levels(graph)
    kept = np.ones(len(source), dtype=bool)
    if of_nodes is not None:
        score = influence(by_level(source, target, graph.edge_weight, level), root)
        score[root] = 0.0
        strong = _holding(score, of_nodes) | _of_tokens(graph)
        strong[root] = True
        kept = strong[source] & strong[target]
    if of_edges is not None:
        rows = np.flatnonzero(kept)
        # Scores come in the order of the levels; taking the edges' own rows along puts them back.
        edges = by_level(source[rows], target[rows], graph.edge_weight[rows], level)
        scores = np.empty(len(rows))
        scores[edges.order] = edge_influence(edges, root)
        kept[rows] = _holding(scores, of_edges)
    # Nodes left without in-edges, or without out-edges, go, and so what hangs on them alone.
    edges = by_level(source[kept], target[kept], graph.edge_weight[kept], level)
    is_root = np.arange(n_nodes) == root
    alive = leading_to(edges, is_root) & fed_by(edges, np.bincount(target, minlength=n_nodes) == 0)
    return kept & alive[source] & alive[target]


def _holding(scores: np.ndarray, share: float) -> np.ndarray:
    """The strongest that hold ``share`` of the sum, and those that equal the weakest of them."""
    if share == 1 or not len(scores):
        return np.ones(len(scores), dtype=bool)
    descending = np.sort(scores)[::-1]
    cumulative = np.cumsum(descending)
    last = np.searchsorted(cumulative, share * cumulative[-1])
    return scores >= descending[min(int(last), len(scores) - 1)]


def strongest(size: np.ndarray, kept: np.ndarray, count: int) -> np.ndarray:
    """Of the edges kept, the ``count`` largest. Of equal ones the earlier, so that the result is always the same."""
    rows = np.flatnonzero(kept)
    if len(rows) <= count:
        return kept
    size = size[rows]
    weakest = np.partition(size, len(size) - count)[len(size) - count]
    chosen = size > weakest
    chosen[np.flatnonzero(size == weakest)[: count - int(chosen.sum())]] = True
    kept = np.zeros_like(kept)
    kept[rows[chosen]] = True
    return kept


class Selection(NamedTuple):
    """Which nodes, as :meth:`AttributionGraph.select` takes them: those that fit all that is given."""

    kinds: Names | None
    layers: Layers | None
    positions: SliceInput
    ids: Names | None


def select(graph: Graph, selection: Selection) -> Graph:
    """See :meth:`recursive_dla.AttributionGraph.select`."""
    chosen, settings = _chosen(graph, selection)
    chosen[root_row(graph)] = True
    return _keep_nodes(graph, chosen, "select", settings)


def drop(graph: Graph, selection: Selection) -> Graph:
    """See :meth:`recursive_dla.AttributionGraph.drop`."""
    chosen, settings = _chosen(graph, selection)
    chosen[root_row(graph)] = False
    return _keep_nodes(graph, ~chosen, "drop", settings)


def _keep_nodes(graph: Graph, chosen: np.ndarray, name: str, settings: dict[str, Any]) -> Graph:
    kept = chosen[graph.edge_source] & chosen[graph.edge_target]
    before = (graph.metadata.pruning or {}).get(name, [])
    return keep(graph, chosen, kept, {name: [*before, settings]})


def _chosen(graph: GraphData, selection: Selection) -> tuple[np.ndarray, dict[str, Any]]:
    """Which nodes fit all that is given, and what is given as plain values."""
    kinds, layers, positions, ids = selection
    nodes, meta = graph.nodes, graph.metadata
    settings: dict[str, Any] = {}
    chosen = np.ones(len(nodes), dtype=bool)
    if kinds is not None:
        settings["kinds"] = _names(kinds)
        present = nodes["kind"].unique().tolist()
        if unknown := [kind for kind in settings["kinds"] if kind not in present]:
            raise InputError(f"The graph has no nodes of kind {unknown[0]!r}. Its kinds are {', '.join(present)}.")
        chosen &= nodes["kind"].isin(settings["kinds"]).to_numpy()
    if layers is not None:
        settings["layers"] = [int(layers)] if isinstance(layers, int | np.integer) else list(map(int, layers))
        if unknown_layers := [layer for layer in settings["layers"] if not -1 <= layer <= meta.n_layers]:
            raise InputError(
                f"Layers go from 0 to {meta.n_layers - 1}; embeddings are at -1, the logit at {meta.n_layers}."
                f" Got {unknown_layers[0]}."
            )
        chosen &= nodes["layer"].isin(settings["layers"]).to_numpy()
    if positions is not None:
        found = Slice(positions).kept().apply(torch.arange(len(meta.tokens)))
        settings["positions"] = found.tolist()
        chosen &= nodes["pos"].isin(settings["positions"]).to_numpy()
    if ids is not None:
        settings["ids"] = _names(ids)
        chosen &= rows_of(graph, settings["ids"])
    if not settings:
        raise InputError("Give `kinds`, `layers`, `positions` or `ids`; nothing says which nodes.")
    return chosen, settings


def _names(given: Names) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def rows_of(graph: GraphData, ids: Iterable[str]) -> np.ndarray:
    """Which nodes have one of these ids, or one of these names at any position (``L23H3`` for ``L23H3@14``).

    Raises:
        InputError: No node has this id or name.
    """
    names = graph.nodes["id"].str.split("@").str[0]
    wanted = list(ids)
    known = set(graph.nodes["id"]) | set(names)
    for one in wanted:
        if one not in known:
            near = get_close_matches(str(one), sorted(known), n=3)
            hint = f" Did you mean {', '.join(map(repr, near))}?" if near else ""
            raise InputError(f"The graph has no node {one!r}.{hint} `graph.nodes` lists all.")
    return (graph.nodes["id"].isin(wanted) | names.isin(wanted)).to_numpy(dtype=bool)


def keep(graph: Graph, nodes_kept: np.ndarray, edges_kept: np.ndarray, settings: dict[str, Any]) -> Graph:
    """The graph of some nodes and some of the edges between them; the rest goes into ``rest_in`` and ``rest_out``.

    ``metadata.pruning`` gets ``settings`` and two measures, both 1 or all of the logit if nothing is cut:

    * ``influence_kept``: the share of the influence on the logit that comes from leaves over kept edges alone, all
      in-edges of the graph before (and its ``rest_in``) sharing a node by absolute weight. From 0 to 1.
    * ``logit_kept``: Σ ``weight · traced(source)`` over the logit's in-edges, in logits. ``traced`` is 1 for leaves, 0
      for what was cut, and for other nodes the mean over their in-edges and ``rest_in``, by absolute weight. Nothing is
      divided by an attribution, so it stays well-behaved where flows cancel.
    """
    cut = ~edges_kept
    nodes = graph.nodes.copy()
    for column, ends in (("rest_in", graph.edge_target), ("rest_out", graph.edge_source)):
        nodes[column] += totals(ends[cut], graph.edge_weight[cut], len(nodes))
    root, edges = root_row(graph), _levelled(graph, edges_kept)
    inputs = totals(graph.edge_target, np.abs(graph.edge_weight), len(nodes))
    inputs += graph.nodes["rest_in"].abs().to_numpy()
    influence_kept = traced(edges, graph.is_leaf, inputs)[root]
    explained = traced(edges, graph.is_leaf, edges.into() + nodes["rest_in"].abs().to_numpy())
    into_logit = edges_kept & (graph.edge_target == root)
    logit_kept = graph.edge_weight[into_logit].astype(np.float64) @ explained[graph.edge_source[into_logit]]
    rows = np.cumsum(nodes_kept, dtype=np.int32) - 1
    before = graph.metadata.pruning or {"nodes_before": len(graph.nodes), "edges_before": len(graph.edge_weight)}
    measured = {"logit_kept": float(logit_kept), "influence_kept": min(float(influence_kept), 1.0)}
    nodes = nodes[nodes_kept].reset_index(drop=True)
    ids = set(nodes["id"])
    groups = {name: members for name, members in graph.metadata.groups.items() if name in ids}
    return replace(
        graph,
        nodes=nodes,
        edge_source=rows[graph.edge_source[edges_kept]].astype(np.int32),
        edge_target=rows[graph.edge_target[edges_kept]].astype(np.int32),
        edge_weight=graph.edge_weight[edges_kept],
        metadata=replace(graph.metadata, pruning={**before, **settings, **measured}, groups=groups),
    )


def root_row(graph: GraphData) -> int:
    """The row of the logit.

    Raises:
        InputError: There is none.
    """
    rows = np.flatnonzero(graph.nodes["kind"] == "logit")
    if len(rows) != 1:
        raise InputError(f"The graph has {len(rows)} nodes of kind 'logit', where there must be one.")
    return int(rows[0])


def _of_tokens(graph: GraphData) -> np.ndarray:
    """Which nodes are token embeddings, or groups of them."""
    embeds = {name for name, members in graph.metadata.groups.items() if all(one.kind == "embed" for one in members)}
    return ((graph.nodes["kind"] == "embed") | graph.nodes["id"].isin(embeds)).to_numpy()


def _levels(graph: GraphData, kept: np.ndarray | slice = slice(None)) -> np.ndarray:
    try:
        return node_levels(graph.edge_source[kept], graph.edge_target[kept], len(graph.nodes))
    except CycleError as error:
        raise InputError(
            f"The graph's edges lead in a circle at {graph.nodes['id'].iloc[error.nodes[0]]!r}."
        ) from error


def _levelled(graph: GraphData, kept: np.ndarray | slice = slice(None)) -> LevelledEdges:
    level = _levels(graph, kept)
    return by_level(graph.edge_source[kept], graph.edge_target[kept], graph.edge_weight[kept], level)
