"""Nodes merged into groups, with a flow that stays exact.

Sum Σ in-edges + ``rest_in`` = attribution = Σ out-edges + ``rest_out`` over the members of a group, and take the edges
from member to member off all three sides: what comes from outside + Σ ``rest_in`` = attribution of the group = what
goes outside + Σ ``rest_out``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from recursive_dla.attribution.provenance import Token
from recursive_dla.errors import InputError
from recursive_dla.graphs.data import Graph, GraphData, Member
from recursive_dla.graphs.flow import CycleError, merge_parallel, node_levels, totals
from recursive_dla.graphs.pruning import Names, rows_of

GroupBy = str | Mapping[str, Names] | Callable[[Any], str | None]

# Control tokens such as <|im_start|> are words of their own.
_CONTROL = re.compile(r"<[^<>\s]+>")


def group(graph: Graph, by: GroupBy) -> Graph:
    """See :meth:`recursive_dla.AttributionGraph.group`."""
    names, nodes = _names(graph, by), graph.nodes["id"].to_numpy(dtype=object)
    in_group = np.array([name is not None for name in names], dtype=bool)
    if clash := sorted(set(nodes[~in_group]) & set(names[in_group])):
        raise InputError(f"A group cannot be called {clash[0]!r}: that is a node which is not in it.")
    # Each node's group, or itself; groups stand where their first member did.
    owner, ids = pd.factorize(np.where(in_group, names, nodes))
    is_group = np.zeros(len(ids), dtype=bool)
    is_group[owner[in_group]] = True
    _check_members(graph, owner, ids, is_group)
    source, target, weight, inner = _merged_edges(graph, owner, len(ids))
    _check_acyclic(source, target, ids)
    return replace(
        graph,
        nodes=_nodes(graph, owner, ids, is_group, inner),
        edge_source=source,
        edge_target=target,
        edge_weight=weight,
        metadata=replace(graph.metadata, groups=_members(graph, owner, ids, is_group)),
    )


# --- who belongs where -----------------------------------------------------------------------------------------------


def _names(graph: GraphData, by: GroupBy) -> np.ndarray:
    """For each node the name of its group, or ``None``."""
    if isinstance(by, str):
        if by not in _RULES:
            raise InputError(
                f"Unknown grouping {by!r}. Use one of {', '.join(map(repr, _RULES))}, a mapping of names to ids, or a"
                " function of a row of `nodes`."
            )
        names = list(_RULES[by](graph))
        # A node that would be alone stays what it is.
        size = Counter(names)
        return _objects(None if size[name] == 1 else name for name in names)
    if isinstance(by, Mapping):
        return _by_hand(graph, by)
    names = [by(row) for row in graph.nodes.itertuples(index=False)]
    for name in names:
        if not isinstance(name, str | None):
            raise InputError(f"The function must return a group's name or None. Got {name!r}.")
    return _objects(names)


def _by_hand(graph: GraphData, groups: Mapping[str, Names]) -> np.ndarray:
    names = np.full(len(graph.nodes), None, dtype=object)
    for name, ids in groups.items():
        rows = rows_of(graph, [ids] if isinstance(ids, str) else ids)
        if not rows.any():
            raise InputError(f"The group {name!r} is empty; name at least one node.")
        for row in np.flatnonzero(rows).tolist():
            if names[row] is not None:
                raise InputError(
                    f"Groups must not overlap: {graph.nodes['id'].iloc[row]!r} is in {names[row]!r} and in {name!r}."
                )
        names[rows] = name
    return names


def _heads_of_layers(graph: GraphData) -> Iterator[str | None]:
    nodes = graph.nodes
    for kind, layer, pos in zip(nodes["kind"], nodes["layer"], nodes["pos"], strict=True):
        yield f"L{layer}.heads@{pos}" if kind == "head" else None


def _positions(graph: GraphData) -> Iterator[str | None]:
    nodes = graph.nodes
    for kind, leaf, pos in zip(nodes["kind"], graph.is_leaf.tolist(), nodes["pos"], strict=True):
        if kind in ("head", "mlp") or (kind == "group" and not leaf):
            yield f"inner@{pos}"
        else:
            yield f"constants@{pos}" if kind in ("bias", "remainder") else None


def _words(graph: GraphData) -> Iterator[str | None]:
    nodes = graph.nodes
    spans = word_spans(graph.metadata.tokens)
    for node, kind, pos in zip(nodes["id"], nodes["kind"], nodes["pos"], strict=True):
        first, last = spans[pos]
        yield None if kind == "logit" else f"{node.split('@')[0]}@{first}-{last}"


def _objects(names: Iterable[str | None]) -> np.ndarray:
    return np.array([*names, None], dtype=object)[:-1]


_RULES: dict[str, Callable[[GraphData], Iterator[str | None]]] = {
    "layer": _heads_of_layers,
    "word": _words,
    "position": _positions,
}


def word_spans(tokens: Iterable[Token]) -> list[tuple[int, int]]:
    """For each token, the first and the last position of its word.

    A word starts at a token that starts with white space, at a control token such as ``<|im_start|>``, and after one.

    Raises:
        InputError: The tokens' texts are not known.

    Example:
        >>> from recursive_dla.attribution.provenance import Token
        >>> from recursive_dla.graphs.grouping import word_spans
        >>> word_spans([Token(0, 5, "The"), Token(1, 7, " Eiff"), Token(2, 11, "el"), Token(3, 13, " tower")])
        [(0, 0), (1, 2), (1, 2), (3, 3)]
    """
    starts: list[int] = []
    after_control = True
    tokens = list(tokens)
    for token in tokens:
        if token.token_id is None and token.text == f"({token.pos})":
            raise InputError("The tokens' texts are not known, so they cannot be joined to words; group by hand.")
        control = _CONTROL.fullmatch(token.text) is not None
        new = after_control or control or token.text[:1].isspace()
        starts.append(token.pos if new else starts[-1])
        after_control = control
    last = dict(zip(starts, (token.pos for token in tokens), strict=True))
    return [(start, last[start]) for start in starts]


# --- the merged graph ------------------------------------------------------------------------------------------------


def _check_members(graph: GraphData, owner: np.ndarray, ids: np.ndarray, is_group: np.ndarray) -> None:
    with_logit = owner[(graph.nodes["kind"] == "logit").to_numpy()]
    if is_group[with_logit].any():
        raise InputError(f"The group {ids[with_logit[0]]!r} holds the logit, which stays by itself; leave it out.")
    leaves = np.bincount(owner, weights=graph.is_leaf, minlength=len(ids))
    sizes = np.bincount(owner, minlength=len(ids))
    mixed = np.flatnonzero(is_group & (leaves > 0) & (leaves < sizes))
    if len(mixed):
        of = owner == mixed[0]
        leaf = graph.nodes["id"][of & graph.is_leaf].iloc[0]
        reader = graph.nodes["id"][of & ~graph.is_leaf].iloc[0]
        raise InputError(
            f"The group {ids[mixed[0]]!r} mixes leaves ({leaf!r}) with nodes that read ({reader!r}): what comes in"
            " would not be what goes out. Make it two groups."
        )


def _merged_edges(
    graph: GraphData, owner: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Edges between groups, in the order of their ends, and for each group what flows from member to member."""
    owner = owner.astype(np.int32)
    source, target, weight = owner[graph.edge_source], owner[graph.edge_target], graph.edge_weight
    inside = source == target
    inner = totals(source[inside], weight[inside], count)
    between = ~inside
    source, target, (merged,) = merge_parallel(source[between], target[between], count, weight[between])
    return source, target, merged.astype(weight.dtype), inner


def _check_acyclic(source: np.ndarray, target: np.ndarray, ids: np.ndarray) -> None:
    try:
        node_levels(source, target, len(ids))
    except CycleError as error:
        way = " → ".join(repr(ids[node]) for node in _circle(source, target, error.nodes))
        raise InputError(
            f"These groups would make the graph go in a circle: {way}. Take what lies between a group's members into"
            " it, leave it out (`drop`, or `select` what matters), or split the group."
        ) from None


def _circle(source: np.ndarray, target: np.ndarray, nodes: np.ndarray) -> list[int]:
    """The nodes of one circle among ``nodes``, the first again at the end; a short one says most."""
    left = np.isin(source, nodes) & np.isin(target, nodes)
    source, target = source[left].astype(np.int64), target[left].astype(np.int64)
    count = int(nodes.max()) + 1
    both_ways = np.flatnonzero(np.isin(source * count + target, target * count + source))
    if len(both_ways):
        one, other = int(source[both_ways[0]]), int(target[both_ways[0]])
        return [one, other, one]
    import networkx as nx

    circle = nx.find_cycle(nx.DiGraph(zip(source.tolist(), target.tolist(), strict=True)))
    return [edge[0] for edge in circle] + [circle[0][0]]


def _nodes(
    graph: GraphData, owner: np.ndarray, ids: np.ndarray, is_group: np.ndarray, inner: np.ndarray
) -> pd.DataFrame:
    nodes, count = graph.nodes, len(ids)
    total = {name: totals(owner, nodes[name].to_numpy(), count) for name in ("attribution", "rest_in", "rest_out")}
    total["attribution"] = (total["attribution"] - inner).astype(nodes["attribution"].dtype)
    first = nodes.groupby(owner).first()
    last = nodes.groupby(owner)[["layer", "pos"]].max()
    merged = first.assign(id=ids, **total)
    merged.loc[is_group, "kind"] = "group"
    merged.loc[is_group, "component"] = [name.split("@")[0] for name in ids[is_group]]
    merged.loc[is_group, "head"] = -1
    for name in ("layer", "pos"):
        merged[name] = last[name]
    merged["token"] = [graph.metadata.tokens[pos].text for pos in merged["pos"]]
    return merged.astype(nodes.dtypes.to_dict()).reset_index(drop=True)


def _members(
    graph: GraphData, owner: np.ndarray, ids: np.ndarray, is_group: np.ndarray
) -> dict[str, tuple[Member, ...]]:
    """The members of each group; those of groups within a group are its own."""
    known = graph.metadata.groups
    columns = ("id", "kind", "component", "layer", "head", "pos", "attribution")
    found: dict[str, list[Member]] = {}
    rows = zip(*(graph.nodes[name].tolist() for name in columns), strict=True)
    for place, row in zip(owner.tolist(), rows, strict=True):
        if is_group[place]:
            found.setdefault(ids[place], []).extend(known.get(row[0], (Member(*row),)))
        elif row[0] in known:
            found[row[0]] = list(known[row[0]])
    return {name: tuple(members) for name, members in found.items()}
