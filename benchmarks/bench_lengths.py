"""Graphs of long prompts: the 20,000 strongest edges against a forward pass, in time and memory, by length.

The complete graph has, for ``n`` tokens, ``H`` heads in each of ``L`` layers and ``C`` sources before each, about
``H n² / 2 · Σ C`` edges, each a product over ``d_head`` numbers: quadratic in ``n``. What is done instead is counted by
torch. Give lengths as arguments.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import torch
from measure import machine, medians, peak_memory
from torch.utils.flop_counter import FlopCounterMode

from recursive_dla import attribution_graph, load_model, run_with_lean_cache
from recursive_dla.attribution.components import head_components
from recursive_dla.graphs.memory_budget import complete_edges

LENGTHS = (128, 256, 512, 1024)
MAX_EDGES = 20_000


def main(lengths: tuple[int, ...]) -> None:
    model = load_model("demo")
    # Running text, long enough for all lengths.
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.parent.glob("docs/*.md")))
    tokens = model.to_tokens(text)
    print(machine())
    print(f"SmolLM2-135M, lean caches, {MAX_EDGES:,} edges kept")
    print(
        f"{'tokens':>6} {'forward, s':>10} {'graph, s':>9} {'forwards':>8} {'peak, MiB':>9} {'cache, MiB':>10}"
        f" {'edges in all':>14} {'GFLOP done':>10} {'of all edges':>12} {'error':>8}"
    )
    for length in lengths:
        prompt = tokens[:, :length]

        @torch.no_grad()
        def forward(prompt: torch.Tensor = prompt) -> None:
            model(prompt)

        logits, cache = run_with_lean_cache(model, prompt)
        answer = int(logits[0, -1].argmax())
        del logits
        build = partial(attribution_graph, cache, model, answer, max_edges=MAX_EDGES, check=False)
        graph = build()
        memory = peak_memory(build)
        passing, building = medians(forward, build, runs=3, warmups=1)
        with FlopCounterMode(display=False) as counter:
            build()
        done = counter.get_total_flops()
        of_all = 2 * cache.weights.d_head * complete_edges(head_components(cache.weights), length)
        pruning = graph.metadata.pruning or {}
        print(
            f"{length:6} {passing:10.2f} {building:9.2f} {building / passing:8.1f} {memory / 2**20:9.0f}"
            f" {sum(cache.memory().values()) / 2**20:10.0f} {pruning['edges_before']:14,} {done / 1e9:10.0f}"
            f" {done / of_all:12.2f} {graph.metadata.completeness_error:8.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or LENGTHS)
