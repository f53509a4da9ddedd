"""Flow networks by hand and at random, as attribution graphs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from recursive_dla import AttributionGraph
from recursive_dla.attribution.provenance import GraphTarget, Token
from recursive_dla.graphs.data import GraphMetadata

LEAVES = {"embed": "embed", "pos_embed": "pos_embed", "b": "bias", "r": "remainder"}


def by_hand(edges: Mapping[tuple[str, str], float], texts: str = "The| Eiff|el| tower| is") -> AttributionGraph:
    """A graph of nodes such as ``L1H0@2``, ``L1MLP@2``, ``embed@0``, ``L0.b@1`` and ``logit@4``, each with the
    attribution that its edges give.
    """
    tokens = tuple(Token(pos, 7 + pos, text) for pos, text in enumerate(texts.split("|")))
    ids = list(dict.fromkeys(node for ends in edges for node in ends))
    rows = {node: row for row, node in enumerate(ids)}
    source = np.array([rows[one] for one, _ in edges], dtype=np.int32)
    target = np.array([rows[other] for _, other in edges], dtype=np.int32)
    weight = np.array(list(edges.values()), dtype=np.float64)
    into = np.bincount(target, weights=weight, minlength=len(ids))
    out = np.bincount(source, weights=weight, minlength=len(ids))
    described = [describe(node) for node in ids]
    leaf = np.array([kind in LEAVES.values() for kind, *_ in described])
    nodes = pd.DataFrame(described, columns=["kind", "component", "layer", "head", "pos"])
    nodes.insert(0, "id", ids)
    nodes["token"] = [tokens[pos].text for pos in nodes["pos"]]
    nodes["attribution"] = np.where(leaf, out, into)
    nodes["rest_in"] = nodes["rest_out"] = 0.0
    value = float(into[rows[f"logit@{len(tokens) - 1}"]])
    metadata = GraphMetadata(
        model="by hand",
        tokens=tokens,
        n_layers=5,
        n_heads=3,
        target=GraphTarget("' Paris'", " Paris", None, len(tokens) - 1),
        value=value,
        completeness_error=0.0,
        rule="ratio",
        generator="test",
    )
    return AttributionGraph(nodes, source, target, weight, metadata)


def describe(node: str) -> tuple[str, str, int, int, int]:
    """Kind, component, layer, head and position, as the id says."""
    name, pos = node.split("@")
    if name == "logit":
        return "logit", name, 5, -1, int(pos)
    if not name.startswith("L"):
        return LEAVES[name], name, -1, -1, int(pos)
    layer = int(name[1])
    if name[2] == "H":
        return "head", name, layer, int(name[3]), int(pos)
    if name[2:] == "MLP":
        return "mlp", f"{layer}_mlp_out", layer, -1, int(pos)
    return LEAVES[name[3:]], f"{layer}_{name[3:]}", layer, -1, int(pos)


def at_random(seed: int, n_pos: int = 5, n_layers: int = 5, n_heads: int = 3) -> AttributionGraph:
    """A network through which signed flow goes from embeddings and biases up to the logit.

    Every node passes on what it gets, in shares of either sign that sum to one; some edges are missing.
    """
    rng = np.random.default_rng(seed)
    places: list[list[str]] = [[f"{name}@{pos}" for name in ("embed", "pos_embed") for pos in range(n_pos)]]
    for layer in range(n_layers):
        places.append([f"L{layer}.b@{pos}" for pos in range(n_pos)])
        places.append([f"L{layer}H{head}@{pos}" for head in range(n_heads) for pos in range(n_pos)])
        places.append([f"L{layer}MLP@{pos}" for pos in range(n_pos)])
    logit = f"logit@{n_pos - 1}"
    has: dict[str, float] = {}
    edges: dict[tuple[str, str], float] = {}
    for step, group in enumerate(places):
        later = [node for following in places[step + 1 :] for node in following]
        for node in group:
            kind, *_, pos = describe(node)
            if kind not in ("head", "mlp"):
                has[node] = float(rng.normal())
            if node not in has:
                continue
            readers = [other for other in later if _reads(other, pos) and rng.random() < 0.2]
            # What no one reads goes straight to the logit, at its own position or as if a head had moved it.
            readers = [*readers, logit]
            shares = rng.normal(size=len(readers))
            shares[-1] = 1 - shares[:-1].sum()
            for reader, share in zip(readers, shares.tolist(), strict=True):
                edges[node, reader] = has[node] * share
                has[reader] = has.get(reader, 0.0) + has[node] * share
    return by_hand(edges)


def _reads(node: str, pos: int) -> bool:
    kind, *_, at = describe(node)
    return at >= pos if kind == "head" else kind == "mlp" and at == pos


def assert_flows(graph: AttributionGraph, precision: float = 1e-9) -> None:
    """Σ in-edges + ``rest_in`` = attribution = Σ out-edges + ``rest_out``, of every node, in plain loops."""
    into, out = [0.0] * len(graph.nodes), [0.0] * len(graph.nodes)
    ends = zip(graph.edge_source.tolist(), graph.edge_target.tolist(), graph.edge_weight.tolist(), strict=True)
    for source, target, weight in ends:
        into[target] += weight
        out[source] += weight
    size = 1 + np.abs(graph.edge_weight).max(initial=0)
    for row, leaf, one, other in zip(graph.nodes.itertuples(), graph.is_leaf.tolist(), into, out, strict=True):
        if not leaf:
            assert abs(one + row.rest_in - row.attribution) < precision * size, row.id
        else:
            assert one == row.rest_in == 0, row.id
        if row.kind != "logit":
            assert abs(other + row.rest_out - row.attribution) < precision * size, row.id
        else:
            assert other == row.rest_out == 0
