"""A complete attribution graph against the model's own forward pass on the same prompt."""

from __future__ import annotations

import torch
from measure import machine, medians

from recursive_dla import ActivationCache, attribution_graph, check, load_model

PROMPT = "When John and Mary went to the store, John gave a drink to"


def main() -> None:
    model = load_model("demo")
    tokens = model.to_tokens(PROMPT)

    @torch.no_grad()
    def forward() -> None:
        model(tokens)

    with torch.no_grad():
        _, cached = model.run_with_cache(tokens)
    cache = ActivationCache(cached.cache_dict, model)
    graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
    seconds = medians(
        forward,
        lambda: attribution_graph(cache, model, " Mary", wrong_answers=" John", check=False),
        lambda: check(cache),
    )
    print(machine())
    print(f"SmolLM2-135M, {tokens.shape[1]} tokens: {len(graph.nodes):,} nodes, {len(graph.edge_weight):,} edges")
    for name, taken in zip(("forward pass", "complete graph", "check of the cache"), seconds, strict=True):
        print(f"{name:20} {taken * 1e3:7.1f} ms   {taken / seconds[0]:.2f} forward passes")


if __name__ == "__main__":
    main()
