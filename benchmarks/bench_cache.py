"""Every method of the cache against TransformerLens's own, on the same activations: time, and peak memory.

Ratios above 1 are in our favour. Times are the processor's, of one thread, so that other work on the machine hardly
matters. On a new cache nothing was computed yet: TransformerLens keeps the head results of the first call in the cache,
at nine times the memory of the residual streams, and ours only if asked to.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from measure import in_turns, machine, peak_memory
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


def compare(name: str, ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int = 5, runs: int = 5) -> None:
    """One line; it ends in ``slower`` if theirs was the faster one in every round."""
    seconds = in_turns(ours, theirs, rounds=rounds, runs=runs, clock=time.process_time)
    ratios = [theirs / ours for ours, theirs in zip(*seconds, strict=True)]
    memory = peak_memory(ours), peak_memory(theirs)
    print(
        f"  {name:42}{median(seconds[0]) * 1e3:9.2f}{median(seconds[1]) * 1e3:10.2f}{median(ratios):8.2f}"
        f"{min(ratios):7.2f}{max(ratios):7.2f}{memory[0] / 2**20:10.1f}{memory[1] / 2**20:9.1f}"
        f"{memory[1] / max(memory[0], 2**12):7.1f}{'  slower' if max(ratios) < 1 else ''}",
        flush=True,
    )


def heading(text: str) -> None:
    columns = f"{'ms ours':>9}{'theirs':>10}{'ratio':>8}{'min':>7}{'max':>7}{'MiB ours':>10}{'theirs':>9}{'ratio':>7}"
    print(f"\n{text:44}{columns}")


Activations = dict[str, torch.Tensor]


def run(model: Any, n_tokens: int) -> Activations:
    tokens = model.to_tokens(PROMPT * 200)[:, :n_tokens]
    with torch.no_grad():
        return dict(model.run_with_cache(tokens)[1].cache_dict)


def compare_methods(model: Any, activations: Activations, n_tokens: int) -> None:
    """What needs no head results, on caches that have looked at the model's weights before."""
    ours, theirs = ActivationCache(activations, model), LensCache(dict(activations), model)
    answer, wrong = model.to_single_token(" Mary"), model.to_single_token(" John")
    heading(f"{n_tokens} tokens")
    stack = ours.stack_head_results()
    for name, call in [*methods(model.W_U[:, answer].detach()), *on_stacks(stack, answer, wrong)]:
        compare(name, partial(call, ours), partial(call, theirs))


def compare_fresh(model: Any, activations: Activations, n_tokens: int) -> None:
    """The first call on a new cache, which looks at the model's weights, and keeps head results if it is theirs."""
    answer = model.to_single_token(" Mary")
    direction = model.W_U[:, answer].detach()
    heading(f"{n_tokens} tokens, new caches")
    stack = LensCache(dict(activations), model).decompose_resid()
    first = [
        ("accumulated_resid()", lambda cache: cache.accumulated_resid()),
        ("decompose_resid()", lambda cache: cache.decompose_resid()),
        ("logit_attrs(layers, answer)", lambda cache: cache.logit_attrs(stack, answer)),
        ("compute_head_results()", lambda cache: cache.compute_head_results()),
    ]
    for name, call in [*first, *with_heads(direction)]:
        compare(
            name,
            lambda call=call: call(ActivationCache(activations, model)),
            lambda call=call: call(LensCache(dict(activations), model)),
        )


def compare_with_heads(model: Any, activations: Activations, n_tokens: int) -> None:
    """What needs head results, once they are in the cache."""
    direction = model.W_U[:, model.to_single_token(" Mary")].detach()
    ours, theirs = ActivationCache(activations, model), LensCache(dict(activations), model)
    ours.compute_head_results(), theirs.compute_head_results()
    heading(f"{n_tokens} tokens, after compute_head_results()")
    for name, call in with_heads(direction):
        compare(name, partial(call, ours), partial(call, theirs))


def compare_neurons(model: Any, activations: Activations, n_tokens: int) -> None:
    """Every neuron of every layer, each a vector; and read along the answer's direction instead."""
    ours, theirs = ActivationCache(activations, model), LensCache(dict(activations), model)
    answer = model.to_single_token(" Mary")
    heading(f"{n_tokens} tokens, every neuron of every layer")
    *calls, (_, stacked) = with_neurons(answer)
    by_name = partial(ours.logit_attrs, "neurons", answer)
    sides = [(name, partial(call, ours), partial(call, theirs)) for name, call in calls]
    sides.append(("logit_attrs(all neurons)", partial(stacked, ours), partial(stacked, theirs)))
    sides.append(("logit_attrs('neurons') / theirs stacked", by_name, partial(stacked, theirs)))
    sides.append(("logit_attrs('neurons') / ours stacked", by_name, partial(stacked, ours)))
    for name, mine, other in sides:
        compare(name, mine, other, rounds=3, runs=1)


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


COMPARISONS = {
    "methods": compare_methods,
    "fresh": compare_fresh,
    "heads": compare_with_heads,
    "neurons": compare_neurons,
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tokens", type=int, nargs="+", default=[15, 128])
    arguments.add_argument("--only", choices=[*COMPARISONS, "lean"], nargs="+", default=[*COMPARISONS, "lean"])
    given = arguments.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    model = load_model("demo")
    # Norm weights are folded in, so that both sides give the same numbers: TransformerLens leaves them out.
    model.enable_compatibility_mode()
    print(machine())
    print("SmolLM2-135M; medians of rounds that take turns, and of their ratios; memory by which the process grows")
    for n_tokens in given.tokens:
        activations = run(model, n_tokens)
        for name in given.only:
            # Every neuron's vector at 128 tokens would take 13 GiB, and theirs twice that.
            if name in COMPARISONS and not (name == "neurons" and n_tokens > 15):
                COMPARISONS[name](model, activations, n_tokens)
    if "lean" in given.only:
        lean(model, given.tokens[-1])


if __name__ == "__main__":
    main()
