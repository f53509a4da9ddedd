"""A complete attribution graph against the model's own passes on its prompt, and against edge attribution patching.

Sides take turns; a ratio is the median over rounds. The machine's peak is that of one large matrix product in the same
run, and the graph's products are counted by torch.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measure import in_turns, machine, medians
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel

from recursive_dla import ActivationCache, attribution_graph, check, load_model
from recursive_dla.graph import AttributionGraph

PROMPT = "When John and Mary went to the store, John gave a drink to"


def operations(side: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products in ``side``."""
    with FlopCounterMode(display=False) as counter:
        side()
    return counter.get_total_flops()


def peak() -> float:
    """Operations per second of a large matrix product."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / medians(lambda: a @ a, runs=5)[0]


def of_the_demo() -> None:
    model = load_model("demo")
    tokens = model.to_tokens(PROMPT)
    answer, wrong = model.to_single_token(" Mary"), model.to_single_token(" John")

    @torch.no_grad()
    def forward() -> None:
        model(tokens)

    def forward_and_backward() -> None:
        logits = model(tokens)[0, -1]
        (logits[answer] - logits[wrong]).backward()
        model.zero_grad(set_to_none=True)

    with torch.no_grad():
        _, cached = model.run_with_cache(tokens)
    cache = ActivationCache(cached.cache_dict, model)
    build = partial(attribution_graph, cache, model, answer, wrong_answers=wrong, check=False)
    graph = build()
    sides = {
        "forward pass": forward,
        "forward and backward pass": forward_and_backward,
        "complete graph": build,
        "its 2,000 strongest edges alone": partial(build, max_edges=2000),
        "check of the cache": partial(check, cache),
        "prune(max_edges=2000)": partial(graph.prune, max_edges=2000),
        "influence of every node": graph.influence,
    }
    rounds = in_turns(*sides.values(), rounds=7, runs=3)
    print(f"SmolLM2-135M, {tokens.shape[1]} tokens: {len(graph.nodes):,} nodes, {len(graph.edge_weight):,} edges")
    print(f"{'':34} {'ms':>7} {'forward passes':>16} {'forward+backward':>18}")
    for name, seconds in zip(sides, rounds, strict=True):
        ratios = (
            statistics.median(ours / theirs for ours, theirs in zip(seconds, reference, strict=True))
            for reference in rounds[:2]
        )
        print(f"{name:34} {statistics.median(seconds) * 1e3:7.1f}", *(f"{ratio:16.2f}" for ratio in ratios))
    done, fastest = operations(build), peak()
    rate = done / statistics.median(rounds[2])
    print(
        f"products of the graph: {done / 1e9:.1f} GFLOP, {rate / 1e9:.0f} GFLOP/s over its whole time;"
        f" {rate / fastest:.0%} of this machine's {fastest / 1e9:.0f} GFLOP/s"
    )


def of_a_gpt2() -> None:
    """TransformerLens's edge attribution patching knows no grouped queries, so the two meet on a random GPT-2."""
    from transformer_lens.tools.analysis import EdgeAttributionConfig, attribution_patch

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        GPT2LMHeadModel(GPT2Config()).eval().save_pretrained(folder)
        from transformer_lens.model_bridge import TransformerBridge

        model = TransformerBridge.boot_transformers(folder)
    model.original_model.eval()
    tokens = torch.randint(50257, (2, 15), generator=torch.Generator().manual_seed(3))
    clean, corrupt = tokens[:1], tokens[1:]

    def patch() -> Any:
        def metric(logits: torch.Tensor) -> torch.Tensor:
            return logits[0, -1, 464] if logits.ndim == 3 else logits[-1, 464]

        return attribution_patch(model, clean, corrupt, metric, EdgeAttributionConfig(granularity="edge"))

    def trace() -> AttributionGraph:
        with torch.no_grad():
            _, cache = model.run_with_cache(clean)
        return attribution_graph(cache, model, 464)

    edges, graph = patch().edge_scores, trace()
    rounds = in_turns(patch, trace, rounds=3, runs=1)
    print(f"a random GPT-2, {clean.shape[1]} tokens, from the prompt to the edges, the check of the cache included")
    for name, count, seconds in (
        ("TransformerLens attribution_patch", len(edges), rounds[0]),
        ("attribution_graph", len(graph.edge_weight), rounds[1]),
    ):
        taken = statistics.median(seconds)
        print(f"{name:34} {taken:6.2f} s   {count:>9,} edges   {taken / count * 1e6:6.2f} µs an edge")
    print(f"ratio of the times {statistics.median(a / b for a, b in zip(*rounds, strict=True)):.1f}")


def main() -> None:
    print(machine())
    of_the_demo()
    of_a_gpt2()


if __name__ == "__main__":
    main()
