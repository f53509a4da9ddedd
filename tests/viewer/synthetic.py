"""Made-up attribution graphs that obey the flow identity of real ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

Node = dict[str, Any]
Edge = dict[str, Any]

IOI_TOKENS = [
    "<|im_start|>", "When", " John", " and", " Mary", " went", " to", " the", " store", ",", " John", " gave", " a",
    " drink", " to",
]  # fmt: skip

READERS = ("logit", "head", "mlp")


def graph(
    seed: int = 0,
    tokens: Sequence[str] = IOI_TOKENS,
    n_layers: int = 30,
    n_heads: int = 9,
    n_nodes: int = 220,
    n_edges: int = 1200,
    biases: bool = False,
    value: float = 5.576,
) -> dict[str, Any]:
    """A document of ``n_nodes`` nodes and ``n_edges`` edges, all of which lead to the logit.

    Every node's attribution is the sum of its out-edges and its rest, and, where it has inputs, of its in-edges and its
    rest. A few inputs dominate each node, as in graphs of real models.
    """
    rng = random.Random(seed)
    nodes = _nodes(rng, len(tokens), n_layers, n_heads, n_nodes, biases)
    inputs = _wiring(rng, nodes, n_edges)
    # Flow is handed down from the logit: a node's attribution is known once all that reads it is done.
    edges: list[Edge] = []
    outflow = {node["id"]: 0.0 for node in nodes}
    outflow["logit@" + str(len(tokens) - 1)] = value
    for reader in nodes:
        if reader["kind"] != "logit":
            reader["rest_out"] = rng.gauss(0, 0.004)
        reader["attribution"] = outflow[reader["id"]] + reader["rest_out"]
        sources = inputs[reader["id"]]
        if not sources:
            continue
        reader["rest_in"] = 0.06 * reader["attribution"] * rng.random()
        weights = _split(rng, reader["attribution"] - reader["rest_in"], len(sources))
        for source, weight in zip(sources, weights, strict=True):
            edges.append({"source": source, "target": reader["id"], "weight": weight})
            outflow[source] += weight
    nodes.reverse()
    return document(nodes, edges, tokens, n_layers=n_layers, n_heads=n_heads, value=value)


def document(nodes: list[Node], edges: list[Edge], tokens: Sequence[str], **metadata: Any) -> dict[str, Any]:
    """The document of given nodes and edges; ``metadata`` replaces parts of what is said of them."""
    target = {"label": "' Mary' − ' John'", "answer": " Mary", "wrong_answer": " John", "pos": len(tokens) - 1}
    return {
        "format": "recursive_dla.attribution_graph",
        "version": 1,
        "metadata": {
            "model": "SmolLM2-135M-Instruct",
            "prompt": "".join(tokens),
            "tokens": [{"pos": pos, "token_id": 100 + pos, "text": text} for pos, text in enumerate(tokens)],
            "n_layers": 30,
            "n_heads": 9,
            "target": target,
            "value": 5.576,
            "completeness_error": 1.2e-6,
            "rule": "ratio",
            "generator": "synthetic 1",
            "pruning": {"edge_threshold": 0.01, "edge_survival": 0.9312, "max_nodes": len(nodes)},
        }
        | metadata,
        "nodes": nodes,
        "edges": edges,
    }


def node(kind: str, component: str, layer: int, pos: int, head: int | None = None, **values: float) -> Node:
    place = {"id": f"{component}@{pos}", "kind": kind, "component": component, "layer": layer, "head": head, "pos": pos}
    return place | {"attribution": 0.0, "rest_in": 0.0, "rest_out": 0.0} | values


def edge(source: str, target: str, weight: float) -> Edge:
    return {"source": source, "target": target, "weight": weight}


def _nodes(rng: random.Random, n_tokens: int, n_layers: int, n_heads: int, count: int, biases: bool) -> list[Node]:
    """``count`` nodes, each of which a later one can read, from the logit downwards."""
    last = n_tokens - 1
    found = [node("logit", "logit", n_layers, last)]
    found += [node("embed", "embed", -1, pos) for pos in range(n_tokens)]
    if biases:
        found += [node("pos_embed", "pos_embed", -1, pos) for pos in range(n_tokens)]
        found += [node("bias", f"L{layer}.b_O", layer, last) for layer in range(0, n_layers, 2)]
        found += [node("bias", f"L{layer}.ln1.b", layer, last) for layer in range(0, n_layers, 3)]
    # A head of the last layer at the last token can read whatever is below it.
    found += [node("head", f"L{n_layers - 1}H0", n_layers - 1, last, 0)]
    taken = {other["id"] for other in found}
    while len(found) < count:
        # MLPs matter more often than any one head, and the last token more than the others.
        pos = last if rng.random() < 0.2 else rng.randrange(n_tokens)
        layer = rng.randrange(n_layers if pos == last else n_layers - 1)
        head = rng.randrange(n_heads)
        new = node("mlp", f"L{layer}MLP", layer, pos) if rng.random() < 0.25 else node(
            "head", f"L{layer}H{head}", layer, pos, head)  # fmt: skip
        if new["id"] not in taken:
            taken.add(new["id"])
            found.append(new)
    return sorted(found, key=_depth, reverse=True)


def _depth(node: Node) -> float:
    """The place of a node in the order of computation."""
    if node["component"].endswith(".b_O"):
        return node["layer"] + 0.5
    return node["layer"] + {"logit": 0.0, "head": 0.25, "mlp": 0.75}.get(node["kind"], -0.1)


def _reads(reader: Node, source: Node) -> bool:
    """Heads read earlier tokens, all else only its own."""
    near = source["pos"] <= reader["pos"] if reader["kind"] == "head" else source["pos"] == reader["pos"]
    return near and reader["kind"] in READERS and _depth(source) < _depth(reader)


def _wiring(rng: random.Random, nodes: list[Node], count: int) -> dict[str, list[str]]:
    """The inputs of each node; every node but the logit is an input of some other."""
    inputs: dict[str, dict[str, None]] = {node["id"]: {} for node in nodes}
    for place, source in enumerate(nodes[1:], 1):
        tries = (nodes[rng.randrange(place)] for _ in range(60))
        reader = next((node for node in tries if _reads(node, source)), None)
        reader = reader or next(node for node in nodes if _reads(node, source))
        inputs[reader["id"]][source["id"]] = None
    for reader in nodes:
        if reader["kind"] in READERS and not inputs[reader["id"]]:
            inputs[reader["id"]][f"embed@{reader['pos']}"] = None
    left = count - sum(map(len, inputs.values()))
    while left > 0:
        # The logit reads more of its token than any other node does.
        reader = nodes[0] if rng.random() < 0.05 else rng.choice(nodes)
        source = rng.choice(nodes)
        if _reads(reader, source) and source["id"] not in inputs[reader["id"]]:
            inputs[reader["id"]][source["id"]] = None
            left -= 1
    return {id: list(sources) for id, sources in inputs.items()}


def _split(rng: random.Random, total: float, count: int) -> list[float]:
    """``count`` signed numbers, a few of them large, that add up to ``total``."""
    parts = [rng.gammavariate(0.25, 1.0) for _ in range(count)]
    noise = [rng.gauss(0, 1) * part for part in parts]
    mean = sum(noise) / count
    scale = sum(parts) or 1.0
    return [
        (total * part + 0.5 * abs(total) * (wobble - mean)) / scale
        for part, wobble in zip(parts, noise, strict=True)
    ]  # fmt: skip
