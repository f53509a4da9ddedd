"""The cache as a dictionary: what it weighs, where it is, which prompts it holds, how little a run has to cache."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from models import (
    ATTENTION_ONLY,
    EVERY_MODEL,
    LENS_3,
    TWO_MODELS,
    WITH_EXPERTS,
    matrix,
    precision,
    random_tokens,
    run_on,
    tiny,
)
from oracles import assert_close

from recursive_dla import ActivationCache, CacheError, InputError, break_down, run_with_lean_cache
from recursive_dla.cache.hook_names import activation_name
from recursive_dla.cache.slices import Slice

PROMPTS = 3


def both(name: str, prompts: int = PROMPTS, dtype: torch.dtype = torch.float32) -> tuple[ActivationCache, Any]:
    """Ours and TransformerLens's cache of one run."""
    model = tiny(name, dtype)
    cached = run_on(model, random_tokens(prompts)).cache
    return ActivationCache(dict(cached.cache_dict), model), cached


# --- looking up ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [-2, np.int64(1), torch.tensor(1)])
def test_layers_are_integers_of_any_kind(layer: Any) -> None:
    ours, theirs = both("gpt2")
    assert ours["pattern", layer] is theirs["pattern", 1]


@pytest.mark.parametrize("key", [(), ("z", 0, None, 1), 5, None])
def test_what_is_no_key_is_refused(key: Any, types_unchecked: None) -> None:
    ours = both("gpt2")[0]
    with pytest.raises(KeyError, match=r"A key is a name or \(name, layer, sublayer\)"):
        ours[key]
    assert key not in ours


def test_a_name_is_worked_out_once() -> None:
    ours = both("gpt2")[0]
    keys = ["z1", ("scale", 2, "ln1"), ("resid_post", -1)]
    found = [ours[key] for key in keys]
    before = activation_name.cache_info()
    assert all(ours[key] is tensor for key, tensor in zip(keys, found, strict=True))
    after = activation_name.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + len(keys))


def test_equality_is_identity() -> None:
    ours = both("gpt2")[0]
    other = ActivationCache(ours, ours.model)
    assert ours == ours
    assert ours != other
    assert len({ours, other}) == 2


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_counts_what_is_shared_once() -> None:
    shared = torch.zeros(2, 3, 5)
    activations = {
        "blocks.0.hook_in": shared,
        "blocks.0.hook_resid_pre": shared,
        "blocks.1.hook_resid_pre": torch.zeros(2, 3, 5),
        "blocks.0.attn.hook_q": shared[0],
        "hook_embed": torch.zeros(4, dtype=torch.float64),
        "hook_nothing": None,
    }
    ours = ActivationCache(activations, None)
    assert ours.memory() == {"hook_resid_pre": 240, "hook_embed": 32}
    assert list(ours.memory()) == ["hook_resid_pre", "hook_embed"]
    assert len(ours) == 5
    assert repr(ours) == "ActivationCache(5 activations, 0.0 MiB, has_batch_dim=True)"
    # A part keeps the whole of its memory alive.
    assert ActivationCache({"hook_z": shared[:1, :1]}, None).memory() == {"hook_z": 120}


def test_memory_is_that_of_the_activations() -> None:
    ours = both("llama")[0]
    distinct = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in ours.values()}
    assert sum(ours.memory().values()) == sum(distinct.values()) < sum(tensor.nbytes for tensor in ours.values())


# --- moving ----------------------------------------------------------------------------------------------------------


def test_to_moves_the_cache_itself_and_keeps_what_is_shared() -> None:
    ours = both("llama")[0]
    size = sum(ours.memory().values())
    before = ours["resid_post", -1].data_ptr()
    assert ours.to("cpu") is ours
    assert ours["resid_post", -1].data_ptr() == before
    assert ours.to(dtype=torch.float64) is ours
    assert ours["resid_post", 0].dtype == torch.float64
    assert ours["resid_post", 0] is ours["resid_pre", 1]
    assert ours["embed.hook_in"].dtype == torch.int64
    assert size < sum(ours.memory().values()) <= 2 * size
    meta = ours.to("meta")
    assert {tensor.device.type for tensor in meta.values()} == {"meta"}


@pytest.mark.parametrize("name", TWO_MODELS)
def test_a_cache_in_half_precision_is_computed_with_in_full(name: str) -> None:
    """As near to the full cache's numbers as the rounding of what is cached allows."""
    full, _ = both(name)
    half = ActivationCache(full, full.model).to(dtype=torch.bfloat16)
    assert sum(half.memory().values()) < 0.6 * sum(full.memory().values())
    assert torch.equal(half.tokens(), full.tokens())
    calls: list[Callable[[ActivationCache], torch.Tensor]] = [
        lambda cache: cache.logit_attrs("full", 5, 17),
        lambda cache: cache.logit_attrs(cache.decompose_resid(), 5, 17),
        lambda cache: cache.stack_head_results(incl_remainder=True, apply_ln=True),
        lambda cache: cache.stack_neuron_results(1),
        lambda cache: cache.accumulated_resid(apply_ln=True),
        lambda cache: cache.get_full_resid_decomposition(expand_neurons=False, apply_ln=True),
        lambda cache: break_down(cache, cache.model, 5).values,
    ]
    for call in calls:
        assert_close(call(half), call(full), 2e-2)
    # Sums are taken in float32: thousands of pieces add up to no more than the rounding of what they are the pieces of.
    heads = half.stack_head_results(incl_remainder=True)
    assert heads.dtype == torch.float32
    assert_close(heads.sum(0), half["resid_post", -1], 1e-6)
    assert half.check().failed == ()


def test_sums_of_a_model_in_half_precision_are_taken_in_float32() -> None:
    ours = both("gpt2", dtype=torch.bfloat16)[0]
    wide = ours.logit_attrs("full", 5)
    assert wide.dtype == torch.float32
    stack = ours.get_full_resid_decomposition()
    assert stack.dtype == torch.bfloat16
    exact = ours.apply_ln_to_stack(stack).double() @ ours.model.W_U[:, 5].double()
    assert_close(ours.logit_attrs(stack, 5), exact, 1e-2)
    assert_close(ours.logit_attrs(stack.double(), 5), exact, 1e-2)
    total = ours.stack_head_results(incl_remainder=True).double().sum(0)
    # The remainder makes up for the rounding of the heads, and is rounded once itself.
    assert_close(total, ours["resid_post", -1], 2**-8)


# --- prompts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_slice", [0, -1, (0, 2), (1,), [2, 0], torch.tensor([True, False, True]), None], ids=str)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_taking_prompts_as_transformer_lens_does(name: str, batch_slice: Any) -> None:
    ours, theirs = both(name)
    taken, their_taken = ours.apply_slice_to_batch_dim(batch_slice), theirs.apply_slice_to_batch_dim(batch_slice)
    assert taken is not ours
    assert taken.has_batch_dim == their_taken.has_batch_dim
    assert list(taken) == list(their_taken)
    assert all(torch.equal(taken[key], their_taken[key]) for key in taken)
    assert len(ours["z", 0]) == PROMPTS
    if Slice(batch_slice).mode == "array":
        # Copies, but one for all names of an activation.
        assert taken["resid_post", 0] is taken["resid_pre", 1]


@pytest.mark.parametrize("name", TWO_MODELS)
def test_removing_the_batch_dimension_as_transformer_lens_does(name: str) -> None:
    ours, theirs = both(name, prompts=1)
    attrs = ours.logit_attrs(ours.decompose_resid(), 5)
    assert ours.remove_batch_dim() is ours
    theirs.remove_batch_dim()
    assert not ours.has_batch_dim
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert_close(ours.logit_attrs(ours.decompose_resid(), 5, has_batch_dim=False), attrs[:, 0], 1e-6)


def test_batch_methods_say_why_they_cannot() -> None:
    ours = both("gpt2")[0]
    with pytest.raises(InputError, match=r"this one has 3\. Take one with apply_slice_to_batch_dim\(0\)"):
        ours.remove_batch_dim()
    with pytest.raises(InputError, match="out of range for dimension 0"):
        ours.apply_slice_to_batch_dim(3)
    one = ours.apply_slice_to_batch_dim(1)
    with pytest.raises(InputError, match="has no batch dimension: it was removed before"):
        one.remove_batch_dim()
    with pytest.raises(InputError, match="has no batch dimension to take prompts from"):
        one.apply_slice_to_batch_dim(0)
    assert not one.apply_slice_to_batch_dim(None).has_batch_dim
    with pytest.raises(InputError, match=r"the cache has 3 prompts\. Give the one it is of, as in batch_slice=0"):
        ours.logit_attrs(one.decompose_resid(), 5, has_batch_dim=False)


def test_norms_that_were_computed_flat_are_taken_by_prompt() -> None:
    ours = both("gpt2")[0]
    flat = {key: each.flatten(0, 1) if key.endswith("hook_scale") else each for key, each in ours.items()}
    flat_cache = ActivationCache(flat, ours.model)
    for batch_slice in (1, (0, 2), [2, 0], None):
        stack = ours.apply_slice_to_batch_dim(batch_slice).stack_head_results(apply_ln=True, pos_slice=-1)
        assert torch.equal(
            flat_cache.apply_slice_to_batch_dim(batch_slice).stack_head_results(apply_ln=True, pos_slice=-1), stack
        )


# --- what changes, and what is said ----------------------------------------------------------------------------------


def test_only_compute_head_results_adds_to_the_cache(caplog: pytest.LogCaptureFixture) -> None:
    ours = both("gpt2")[0]
    before = dict(ours)
    stack, attrs = ours.stack_head_results(), ours.logit_attrs("heads", 5)
    ours.get_full_resid_decomposition()
    assert dict(ours) == before
    caplog.set_level(logging.INFO, "recursive_dla")
    ours.compute_head_results()
    assert set(ours) - set(before) == {f"blocks.{layer}.attn.hook_result" for layer in range(3)}
    assert all(ours[key] is before[key] for key in before)
    assert ours["result", 0].shape == (PROMPTS, 7, 2, 10)
    assert torch.equal(ours.stack_head_results(), stack)
    assert torch.equal(ours.logit_attrs("heads", 5), attrs)
    kept = ours["result", 0]
    ours.compute_head_results()
    assert ours["result", 0] is kept
    assert [record.getMessage() for record in caplog.records] == [
        "Computing the head results of 3 layers; the others are cached.",
        "Computing the head results of 0 layers; the others are cached.",
    ]


def test_something_else_under_the_name_of_head_results_is_not_used() -> None:
    ours = both("gpt2")[0]
    strange = ActivationCache({**ours, "blocks.0.attn.hook_result": ours["attn_out", 0]}, ours.model)
    assert torch.equal(strange.stack_head_results(), ours.stack_head_results())


def test_toggle_autodiff_says_what_it_did(caplog: pytest.LogCaptureFixture) -> None:
    ours = both("gpt2")[0]
    with torch.enable_grad():
        ours.toggle_autodiff()
        assert not torch.is_grad_enabled()
        ours.toggle_autodiff(True)
        assert torch.is_grad_enabled()
    assert [record.getMessage() for record in caplog.records] == [
        "Gradients are now off for the whole process.",
        "Gradients are now on for the whole process.",
    ]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    ours = both("gpt2")[0]
    capfd.readouterr()
    ours.compute_head_results()
    ours.stack_head_results(incl_remainder=True)
    ours.get_full_resid_decomposition(apply_ln=True)
    ours.logit_attrs("neurons", 5)
    repr(ours)
    assert capfd.readouterr() == ("", "")


def test_gradients_reach_a_stack_of_ones_own() -> None:
    """As for training a direction with the final norm frozen."""
    ours = both("gpt2")[0]
    stack = ours.decompose_resid().requires_grad_()
    (with_respect_to,) = torch.autograd.grad(ours.logit_attrs(stack, 5).sum(), stack)
    (scaled,) = torch.autograd.grad(ours.apply_ln_to_stack(stack).sum(), stack)
    norm = ours.model.ln_final
    for found, read in ((with_respect_to, ours.model.W_U[:, 5]), (scaled, torch.ones(10))):
        expected = norm.w * read - (norm.w * read).mean()
        assert_close(found, (expected / ours["scale"]).expand_as(found), 1e-5)


# --- arguments that are refused --------------------------------------------------------------------------------------

REFUSED: list[tuple[Callable[[ActivationCache], Any], str]] = [
    (lambda cache: cache.stack_neuron_results(4), r"`layer` must be from 0 to 3, -1 or None\. Got 4"),
    (lambda cache: cache.stack_activation("z", 4), r"`layer` must be from 0 to 3"),
    (lambda cache: cache.get_neuron_results(3), r"`layer` must be from -3 to 2\. Got 3"),
    (lambda cache: cache.get_neuron_results(0, neuron_slice=13), r"Index \[13\] is out of range"),
    (lambda cache: cache.stack_neuron_results(1, neuron_slice=[2, 13]), r"Index \[2, 13\] is out of range"),
    (lambda cache: cache.stack_head_results(pos_slice=7), "Index 7 is out of range"),
    (
        lambda cache: cache.stack_head_results(project_onto=torch.zeros(9)),
        r"\[d_model\]=\(10,\) or \[d_model, direction\]=\(10, n\)\. Got torch\.float32 of shape \(9,\)",
    ),
    (lambda cache: cache.logit_attrs("heads", project_onto=torch.zeros(10, 2, 2)), r"of shape \(10, 2, 2\)"),
    (
        lambda cache: cache.stack_neuron_results(1, project_onto=torch.ones(10), project_output_onto=torch.ones(10)),
        "are the same argument",
    ),
    (lambda cache: cache.logit_attrs("everything", 5), r"called 'layers', 'heads', 'neurons' or 'full'\. Got 'every"),
    (lambda cache: cache.logit_attrs("heads"), r"Give `tokens`, or a direction as `project_onto`\. Got neither"),
    (lambda cache: cache.logit_attrs("heads", 5, project_onto=torch.ones(10)), "takes the place of `tokens`"),
    (lambda cache: cache.logit_attrs(cache.decompose_resid(), 5, return_labels=True), "the method that made it"),
    (lambda cache: cache.logit_attrs("heads", torch.tensor([1, 2])), r"shapes \(3,\), \(7,\), \(3, 7\) .* Got \(2,\)"),
    (lambda cache: cache.logit_attrs("heads", torch.ones(3, 6).long()), r"Got \(3, 6\)"),
    (lambda cache: cache.logit_attrs("heads", torch.tensor([1, 2]), pos_slice=-1), r"shapes \(3,\) of .* Got \(2,\)"),
    (lambda cache: cache.logit_attrs("heads", 53), "must be from 0 to 52"),
    (lambda cache: cache.logit_attrs("heads", torch.tensor(-1)), r"integers from 0 to 52\. Got tensor\(-1\)"),
    (lambda cache: cache.logit_attrs("heads", torch.tensor(1.0)), "must be integers"),
    (lambda cache: cache.logit_attrs("heads", 5, torch.tensor([1, 2, 3])), r"Got \(\) and \(3,\)"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=range(len(REFUSED)))
def test_arguments_that_fit_nothing_are_refused(
    types_unchecked: None, call: Callable[[ActivationCache], Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        call(both("gpt2")[0])


def test_a_partial_cache_does_what_it_can() -> None:
    ours = both("gpt2")[0]
    only_z = ActivationCache({key: each for key, each in ours.items() if key.endswith("hook_z")}, ours.model)
    assert torch.equal(only_z.stack_head_results(), ours.stack_head_results())
    with pytest.raises(CacheError, match=r"lacks ln_final\.hook_scale"):
        only_z.stack_head_results(apply_ln=True)
    with pytest.raises(CacheError, match=r"lacks blocks\.2\.hook_resid_post"):
        only_z.stack_head_results(incl_remainder=True)
    nothing = ActivationCache({"blocks.0.attn.hook_pattern": ours["pattern", 0]}, ours.model)
    with pytest.raises(CacheError, match="holds 1 activations, but nothing of the residual stream"):
        nothing.stack_head_results()


# --- caching less ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", matrix(EVERY_MODEL))
def test_a_lean_cache_is_enough_for_everything(name: str) -> None:
    model, tokens = tiny(name), random_tokens(PROMPTS)
    full = ActivationCache(run_on(model, tokens).cache.cache_dict, model)
    with torch.enable_grad():
        logits, lean = run_with_lean_cache(model, tokens)
    assert not logits.requires_grad
    assert torch.equal(lean.tokens(), tokens)
    assert lean.check().failed == ()
    # Of the small layers here, scales and token ids are a larger part than they are of real ones.
    assert sum(lean.memory().values()) < 0.75 * sum(full.memory().values())
    kinds = ["layers", "heads"] if name in WITH_EXPERTS else ["layers", "heads", "full"]
    if name not in (*ATTENTION_ONLY, *WITH_EXPERTS):
        kinds.append("neurons")
    for kind in kinds:
        assert_close(lean.logit_attrs(kind, 5, 17), full.logit_attrs(kind, 5, 17), precision(name))
    assert_close(lean.accumulated_resid(apply_ln=True), full.accumulated_resid(apply_ln=True), precision(name))
    assert_close(break_down(lean, model, 5).values, break_down(full, model, 5).values, precision(name))


def test_a_lean_cache_without_neurons_is_leaner_and_says_what_it_lacks() -> None:
    model = tiny("llama", torch.float32)
    _, lean = run_with_lean_cache(model, random_tokens())
    logits, leaner = run_with_lean_cache(model, random_tokens(), neurons=False, remove_batch_dim=True)
    assert logits.shape == (1, 7, 53)
    assert not leaner.has_batch_dim
    assert sum(leaner.memory().values()) < 0.9 * sum(lean.memory().values())
    assert_close(leaner.logit_attrs("heads", 5), lean.logit_attrs("heads", 5)[:, 0], 1e-6)
    with pytest.raises(CacheError, match=r"lacks blocks\.0\.mlp\.hook_pre"):
        leaner.logit_attrs("neurons", 5)
    with pytest.raises(InputError, match="`names_filter` is what run_with_lean_cache chooses"):
        run_with_lean_cache(model, random_tokens(), names_filter="hook_embed")


@pytest.mark.skipif(not LENS_3, reason="TransformerLens 4 has no HookedTransformer")
def test_head_results_that_the_model_would_cache_are_left_out() -> None:
    model = tiny("hooked-LN", torch.float32, seed=5)
    model.set_use_attn_result(True)
    try:
        _, lean = run_with_lean_cache(model, random_tokens())
        full = run_on(model, random_tokens()).cache
    finally:
        model.set_use_attn_result(False)
    assert ("result", 0) not in lean
    assert_close(lean.stack_head_results(), full.stack_head_results(), 1e-5)


# --- users' notebooks ------------------------------------------------------------------------------------------------


@pytest.fixture
def swapped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A model of the shape of TinyStories-1M, whose ``run_with_cache`` gives our cache instead of TransformerLens's."""
    model = tiny("gpt2-8-layers", torch.float32)
    for module in {type(model).__module__, "transformer_lens.model_bridge.bridge_core"} & set(sys.modules):
        if hasattr(sys.modules[module], "ActivationCache"):
            monkeypatch.setattr(sys.modules[module], "ActivationCache", ActivationCache)
    return model


def test_the_notebook_on_decompositions_runs(swapped: Any, capfd: pytest.CaptureFixture[str]) -> None:
    model = swapped
    logits, cache = model.run_with_cache("w3 w1 w4 w1 w5 w9")
    assert isinstance(cache, ActivationCache)
    assert len(list(cache.keys())[:10]) == 10
    assert cache.cache_dict["hook_embed"].shape == (*logits.shape[:2], 64)

    stream, labels = cache.decompose_resid(return_labels=True, mode="all")
    assert stream.size() == (18, 1, 7, 64)
    assert labels[:4] == ["embed", "pos_embed", "0_attn_out", "0_mlp_out"]
    assert labels[-2:] == ["7_attn_out", "7_mlp_out"]

    attributions = cache.logit_attrs(stream, "w6")
    assert attributions.size() == (18, 1, 7)
    assert attributions.squeeze().sum(dim=1).shape == (18,)
    strongest = max(range(len(labels)), key=lambda place: float(attributions[place].sum()))
    assert labels[attributions.sum(dim=(1, 2)).argmax()] == labels[strongest]

    full, labels = cache.get_full_resid_decomposition(return_labels=True)
    assert len(full) == len(labels) == 8 * 16 + 8 * 67 + 3
    assert cache.logit_attrs(cache.decompose_resid(mode="attn"), "w6").shape == (10, 1, 7)

    stream, labels = cache.accumulated_resid(
        layer=8, incl_mid=False, apply_ln=True, mlp_input=False, return_labels=True
    )
    assert stream.size() == (9, 1, 7, 64)
    assert labels == [*(f"{layer}_pre" for layer in range(8)), "final_post"]
    layers = stream[:, 0, -1, :] @ model.W_U
    assert_close(layers[-1] + model.b_U, logits[0, -1], 1e-5)
    order = torch.argsort(layers, dim=1, descending=True)
    assert (order == model.to_single_token("w6")).nonzero(as_tuple=True)[1].shape == (9,)
    assert "compute" not in capfd.readouterr().out.lower()


def test_the_notebook_on_caching_runs(swapped: Any) -> None:
    tokens = swapped.to_tokens("w1 w2 w3 w4")
    _, cache = swapped.run_with_cache(tokens, remove_batch_dim=True)
    assert isinstance(cache, ActivationCache)
    torch.testing.assert_close(cache["pattern", 0], cache["blocks.0.attn.hook_pattern"])
    assert cache["pattern", 0].shape == (16, tokens.shape[1], tokens.shape[1])


def test_the_notebook_on_recursive_dla_runs(swapped: Any) -> None:
    tokens = random_tokens(positions=15)
    answers = ["w3"]
    _, cache = swapped.run_with_cache(tokens)
    shown = [name for name, _ in cache.items() if not name.startswith("blocks") or name.startswith("blocks.0")]
    assert {"hook_embed", "blocks.0.attn.hook_z", "ln_final.hook_scale"} <= set(shown)
    heads = cache.stack_head_results()
    attributions = cache.logit_attrs(heads, tokens=answers[0])
    assert attributions.shape == (128, 1, 15)
    assert_close(attributions, cache.logit_attrs("heads", answers[0]), 1e-5)


# --- importing -------------------------------------------------------------------------------------------------------


def test_the_cache_needs_no_transformer_lens() -> None:
    """A dictionary of activations and a view of weights are enough."""
    script = "import sys, recursive_dla; recursive_dla.ActivationCache; print('transformer_lens' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
