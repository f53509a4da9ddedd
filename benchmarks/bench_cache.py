"""Every method of the cache against TransformerLens's own, on the same activations: time, and peak memory.

Ratios above 1 are in our favour. "fresh" is a cache on which nothing was computed yet: TransformerLens keeps the head
results of the first call in the cache, at nine times the memory of the residual streams, and ours only if asked to.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from measure import machine, medians, peak_memory
from transformer_lens import ActivationCache as LensCache

from recursive_dla import ActivationCache, load_model, run_with_lean_cache

PROMPT = "When John and Mary went to the store, John gave a drink to"
Call = Callable[[Any], Any]


def methods(direction: torch.Tensor) -> list[tuple[str, Call]]:
    """What is called in the same way on both."""
    return [
        ("cache['pattern', 3], 1000 times", lambda cache: [cache["pattern", 3] for _ in range(1000)]),
        ("cache['resid_post', -1], 1000 times", lambda cache: [cache["resid_post", -1] for _ in range(1000)]),
        ("accumulated_resid()", lambda cache: cache.accumulated_resid(incl_mid=True)),
        ("accumulated_resid(apply_ln)", lambda cache: cache.accumulated_resid(apply_ln=True)),
        ("accumulated_resid(15, apply_ln)", lambda cache: cache.accumulated_resid(15, apply_ln=True)),
        ("decompose_resid()", lambda cache: cache.decompose_resid()),
        ("decompose_resid(apply_ln)", lambda cache: cache.decompose_resid(apply_ln=True)),
        ("decompose_resid(pos_slice=-1)", lambda cache: cache.decompose_resid(pos_slice=-1)),
        ("stack_activation('pattern')", lambda cache: cache.stack_activation("pattern")),
        ("get_neuron_results(3)", lambda cache: cache.get_neuron_results(3)),
        ("  projected", lambda cache: cache.get_neuron_results(3, project_output_onto=direction)),
        (
            "stack_neuron_results, projected",
            lambda cache: cache.stack_neuron_results(-1, project_output_onto=direction),
        ),
        (
            "  and apply_ln, incl_remainder",
            lambda cache: cache.stack_neuron_results(
                -1, apply_ln=True, incl_remainder=True, project_output_onto=direction
            ),
        ),
    ]


def on_stacks(stack: torch.Tensor, answer: int, wrong: int) -> list[tuple[str, Call]]:
    return [
        ("apply_ln_to_stack(heads)", lambda cache: cache.apply_ln_to_stack(stack)),
        ("logit_attrs(heads, answer)", lambda cache: cache.logit_attrs(stack, answer)),
        ("logit_attrs(heads, answer, wrong)", lambda cache: cache.logit_attrs(stack, answer, wrong)),
    ]


def with_heads(direction: torch.Tensor) -> list[tuple[str, Call]]:
    """Methods that need head results, on fresh caches and on caches that hold them."""
    return [
        ("stack_head_results()", lambda cache: cache.stack_head_results()),
        (
            "stack_head_results(remainder, apply_ln)",
            lambda cache: cache.stack_head_results(-1, False, True, None, True),
        ),
        ("stack_head_results(pos_slice=-1)", lambda cache: cache.stack_head_results(pos_slice=-1)),
        (
            "full decomposition, whole MLPs",
            lambda cache: cache.get_full_resid_decomposition(expand_neurons=False),
        ),
        (
            "full decomposition, projected, apply_ln",
            lambda cache: cache.get_full_resid_decomposition(apply_ln=True, project_output_onto=direction),
        ),
    ]


def with_neurons(answer: int) -> list[tuple[str, Call]]:
    """The methods that make every neuron's vector."""
    return [
        ("stack_neuron_results(-1)", lambda cache: cache.stack_neuron_results(-1)),
        ("stack_neuron_results(-1, apply_ln)", lambda cache: cache.stack_neuron_results(-1, apply_ln=True)),
        ("get_full_resid_decomposition()", lambda cache: cache.get_full_resid_decomposition()),
        ("logit_attrs(all neurons)", lambda cache: cache.logit_attrs(cache.stack_neuron_results(-1), answer)),
    ]


def compare(name: str, ours: Callable[[], Any], theirs: Callable[[], Any], runs: int = 9) -> None:
    seconds = medians(ours, theirs, runs=runs, warmups=min(runs, 2))
    memory = peak_memory(ours), peak_memory(theirs)
    print(
        f"  {name:42} {seconds[0] * 1e3:9.2f} {seconds[1] * 1e3:9.2f} {seconds[1] / seconds[0]:7.2f}"
        f" {memory[0] / 2**20:9.1f} {memory[1] / 2**20:9.1f} {memory[1] / max(memory[0], 2**12):7.1f}",
        flush=True,
    )


def compare_all(model: Any, n_tokens: int, every_neuron: bool) -> None:
    tokens = model.to_tokens(PROMPT * 100)[:, :n_tokens]
    with torch.no_grad():
        _, cached = model.run_with_cache(tokens)
    activations = dict(cached.cache_dict)
    ours, theirs = ActivationCache(activations, model), LensCache(dict(activations), model)
    answer, wrong = model.to_single_token(" Mary"), model.to_single_token(" John")
    direction = model.W_U[:, answer].detach()

    print(f"\n{n_tokens} tokens{'ms':>38} ours {'theirs':>9} {'ratio':>7}  MiB ours {'theirs':>9} {'ratio':>7}")
    stack = ours.stack_head_results()
    for name, call in [*methods(direction), *on_stacks(stack, answer, wrong)]:
        compare(name, partial(call, ours), partial(call, theirs))
    del stack

    compare("first look at the model's weights", lambda: ActivationCache(activations, model).weights, lambda: None)
    print("  -- fresh")
    for name, call in [("compute_head_results()", lambda cache: cache.compute_head_results()), *with_heads(direction)]:
        compare(
            name,
            lambda call=call: call(ours.apply_slice_to_batch_dim(None)),
            lambda call=call: call(LensCache(dict(activations), model)),
        )
    print("  -- after compute_head_results() on both")
    ours.compute_head_results(), theirs.compute_head_results()
    for name, call in with_heads(direction):
        compare(name, partial(call, ours), partial(call, theirs))
    ours = ActivationCache(activations, model)
    print("  -- on theirs alone, as its own first call leaves it")
    for name, call in with_heads(direction):
        compare(name, partial(call, ours), partial(call, theirs))
    if every_neuron:
        print("  -- every neuron of every layer")
        for name, call in with_neurons(answer):
            compare(name, partial(call, ours), partial(call, theirs), runs=3)
        by_name = partial(ours.logit_attrs, "neurons", answer)
        call = with_neurons(answer)[-1][1]
        compare("logit_attrs('neurons') / theirs stacked", by_name, partial(call, theirs), runs=3)
        compare("logit_attrs('neurons') / ours stacked", by_name, partial(call, ours), runs=3)


def lean(model: Any, n_tokens: int) -> None:
    tokens = model.to_tokens(PROMPT * 100)[:, :n_tokens]
    with torch.no_grad():
        full = ActivationCache(model.run_with_cache(tokens)[1].cache_dict, model)
    whole = sum(full.memory().values())
    print(f"\nCaches of {n_tokens} tokens, MiB, and how many times less than everything")
    kept = {"everything": full}
    kept["run_with_lean_cache"] = run_with_lean_cache(model, tokens)[1]
    kept["  in bfloat16"] = run_with_lean_cache(model, tokens)[1].to(dtype=torch.bfloat16)
    kept["  without neurons"] = run_with_lean_cache(model, tokens, neurons=False)[1]
    for name, cache in kept.items():
        size = sum(cache.memory().values())
        print(f"  {name:42} {size / 2**20:9.1f} {whole / size:7.2f}")


def files(model: Any, n_tokens: int) -> None:
    tokens = model.to_tokens(PROMPT * 200)[:, :n_tokens]
    with torch.no_grad():
        cache = ActivationCache(model.run_with_cache(tokens)[1].cache_dict, model)
    size = sum(cache.memory().values())
    print(f"\nA cache of {n_tokens} tokens, {size / 2**20:.0f} MiB: seconds, and peak memory over its size")
    with TemporaryDirectory() as folder:
        path = Path(folder, "cache.safetensors")
        save: Callable[[], Any] = partial(cache.save, path)
        (taken,) = medians(save, runs=1, warmups=0)
        # The cache itself is in it.
        print(f"  {'save':42} {taken:9.1f} {(size + peak_memory(save)) / size:7.2f}")
        del cache, save
        load = partial(ActivationCache.load, path, model)
        (taken,) = medians(load, runs=1, warmups=0)
        print(f"  {'load':42} {taken:9.1f} {peak_memory(load) / size:7.2f}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tokens", type=int, nargs="+", default=[15, 128])
    arguments.add_argument("--file-tokens", type=int, default=1000)
    given = arguments.parse_args()
    logging.disable(logging.WARNING)
    model = load_model("demo")
    # Norm weights are folded in, so that both sides give the same numbers: TransformerLens leaves them out.
    model.enable_compatibility_mode()
    print(machine())
    print("SmolLM2-135M; medians of runs that take turns, memory by which the process grows")
    for n_tokens in given.tokens:
        compare_all(model, n_tokens, every_neuron=n_tokens <= 15)
    lean(model, given.tokens[-1])
    files(model, given.file_tokens)


if __name__ == "__main__":
    main()
