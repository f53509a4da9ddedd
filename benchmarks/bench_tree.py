"""Expanding the nodes of attribution trees against the model's own forward pass on the same prompt."""

from __future__ import annotations

import torch
from measure import machine, medians

from recursive_dla import ActivationCache, attribution_graph, attribution_tree, load_model, strongest_paths
from recursive_dla.trees import search

PROMPT = "When John and Mary went to the store, John gave a drink to"
NODES = 200


def main() -> None:
    model = load_model("demo")
    tokens = model.to_tokens(PROMPT)

    @torch.no_grad()
    def forward() -> None:
        model(tokens)

    with torch.no_grad():
        _, cached = model.run_with_cache(tokens)
    cache = ActivationCache(cached.cache_dict, model)
    explain = {"wrong_answers": " John", "check": False}

    def grow(nodes: int, batch: int, **options: object) -> int:
        """The number of nodes that were expanded."""
        default, search._BATCH = search._BATCH, batch
        options = {"depth": None, "top_k": 10, "min_share": 0.0, **options}
        tree = attribution_tree(cache, model, " Mary", max_nodes=nodes, **explain, **options)
        search._BATCH = default
        return int(tree.nodes["expanded"].sum())

    together = search._BATCH
    by_level = grow(10_000, together, depth=3)
    sides = {
        "forward pass": (1, forward),
        "complete graph": (1, lambda: attribution_graph(cache, model, " Mary", **explain)),
        "a tree's root": (1, lambda: grow(1, together)),
        "depth 3, top 5 (the default tree)": (1, lambda: attribution_tree(cache, model, " Mary", **explain)),
        f"depth 3, top 10: {by_level} nodes, by level": (by_level, lambda: grow(10_000, together, depth=3)),
        f"best first, {NODES} nodes, in batches": (NODES, lambda: grow(NODES, together)),
        f"best first, {NODES} nodes, one at a time": (NODES, lambda: grow(NODES, 1)),
        f"layers, best first, {NODES} nodes": (NODES, lambda: grow(NODES, together, unit="layers")),
        f"neurons, best first, {NODES} nodes": (NODES, lambda: grow(NODES, together, unit="neurons")),
        "20 strongest paths": (1, lambda: strongest_paths(cache, model, " Mary", **explain)),
    }
    seconds = medians(*(side for _, side in sides.values()), runs=3, warmups=1)
    print(machine())
    print(f"SmolLM2-135M, {tokens.shape[1]} tokens\n")
    print("| | ms | forward passes | ms for each node |\n|---|---:|---:|---:|")
    for (name, (nodes, _)), taken in zip(sides.items(), seconds, strict=True):
        each = f"{taken / nodes * 1e3:.2f}" if nodes > 1 else ""
        print(f"| {name} | {taken * 1e3:.1f} | {taken / seconds[0]:.2f} | {each} |")


if __name__ == "__main__":
    main()
