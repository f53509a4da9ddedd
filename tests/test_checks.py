"""The checks: they pass on every good cache, and name what is wrong with a bad one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import (
    ATTENTION_ONLY,
    EVERY_MODEL,
    FEW,
    LENS_3,
    PROMPTS,
    TWO_MODELS,
    WITH_EXPERTS,
    boot,
    hugging_face,
    matrix,
    random_tokens,
    run,
    run_on,
    tiny,
)
from torch import Tensor

from recursive_dla import (
    ActivationCache,
    attention_score_breakdown,
    attribution_graph,
    break_down,
    centred_logit_target,
    check,
    direction_target,
    log_prob_target,
    logit_target,
)
from recursive_dla.cache import checks
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.cache.checks import CheckReport, Identity
from recursive_dla.errors import CacheError

ANSWER = 5
# Every activation that a breakdown or a graph uses, and how the message names it.
PER_LAYER = {
    "hook_resid_pre": r"hook_resid_pre of layer {} .* in `resid_pre = what was written before`",
    "ln1.hook_scale": r"ln1.hook_scale of layer {} .* in `scale = ",
    "attn.hook_pattern": r"attn.hook_z of layer {} .* in `z = A v`",
    "attn.hook_z": r"attn.hook_z of layer {} .* in `z = A v`",
    "ln1_post.hook_scale": r"hook_attn_out of layer {} .* in `attn_out = ",
    "hook_attn_out": r"hook_attn_out of layer {} .* in `attn_out = ",
    "hook_resid_mid": r"hook_resid_mid of layer {} .* in `resid_mid = resid_pre \+ attn_out`",
    "ln2.hook_scale": r"ln2.hook_scale of layer {} .* in `scale = ",
    "mlp.hook_pre": r"mlp.hook_pre of layer {} .* in `pre = ",
    "mlp.hook_pre_linear": r"mlp.hook_pre_linear of layer {} .* in `pre_linear = ",
    "mlp.hook_expert_indices": r"hook_mlp_out of layer {} .* in `mlp_out = ",
    "ln2_post.hook_scale": r"hook_mlp_out of layer {} .* in `mlp_out = ",
    "hook_mlp_out": r"hook_mlp_out of layer {} .* in `mlp_out = ",
    "hook_resid_post": r"hook_resid_post of layer {} .* in `resid_post = ",
}
OUTSIDE = {
    "hook_embed": "hook_resid_pre of layer 0 .* in `resid_pre = what was written before`",
    "hook_pos_embed": "hook_resid_pre of layer 0 .* in `resid_pre = what was written before`",
    "ln_final.hook_scale": "ln_final.hook_scale .* in `scale = ",
}


def needed(name: str) -> dict[str, str]:
    """The activations that are needed of a model, and what the message says when one is wrong."""
    model = tiny(name)
    unused = set()
    if model.cfg.parallel_attn_mlp:
        unused.add("hook_resid_mid")
        if getattr(model.blocks[0], "ln2", None) is None:
            unused.add("ln2.hook_scale")
    if name in ATTENTION_ONLY:
        unused |= {short for short in PER_LAYER if short.startswith(("ln2", "mlp", "hook_resid_mid", "hook_mlp"))}
    unused |= {"mlp.hook_pre", "mlp.hook_pre_linear"} if name in WITH_EXPERTS else {"mlp.hook_expert_indices"}
    found = {
        f"blocks.{layer}.{short}": message.format(layer)
        for layer in range(model.cfg.n_layers)
        for short, message in PER_LAYER.items()
        if short not in unused
    }
    return {full: message for full, message in (found | OUTSIDE).items() if full in run(name).cache}


def tampered(name: str, activation: str, change: Any) -> ActivationCache:
    """The cache of a run with one entry of one activation, of a late prompt, changed."""
    model, _, _, cache = run(name, prompts=2)
    wrong: Tensor = cache[activation].clone()
    place = (1, *(size // 2 for size in wrong.shape[1:]))
    wrong[place] = change(wrong[place])
    return as_cache({**cache.cache_dict, activation: wrong}, model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", matrix(EVERY_MODEL))
def test_good_caches_pass(name: str, dtype: torch.dtype) -> None:
    for prompts in (1, PROMPTS):
        model, _, _, cache = run(name, dtype, prompts=prompts)
        report = check(as_cache(cache, model))
        assert not report.failed
        rounding = 1e-5 if dtype == torch.float32 else 1e-6 if name in WITH_EXPERTS else 1e-13
        assert max(identity.error for identity in report.identities) < rounding


@pytest.mark.parametrize(
    ("name", "per_layer"), [("gpt2", 9), ("llama-biased", 10), ("native-attention-only", 5), ("gpt-j", 7)]
)
def test_every_identity_is_there(name: str, per_layer: int) -> None:
    """For each layer, and the final norm and the logits."""
    model, _, _, cache = run(name)
    assert len(check(as_cache(cache, model)).identities) == per_layer * model.cfg.n_layers + 2


@pytest.mark.parametrize("name", TWO_MODELS)
def test_a_cache_without_batch_passes(name: str) -> None:
    cache = run_on(tiny(name), random_tokens(), remove_batch_dim=True).cache
    assert not check(as_cache(cache, tiny(name))).failed


@pytest.mark.parametrize("name", matrix(EVERY_MODEL))
def test_one_wrong_number_anywhere_is_named(name: str) -> None:
    def change(number: Tensor) -> Tensor:
        # The number of an expert, or any other.
        return (number + 1) % 5 if number.dtype == torch.long else number + 0.1

    for activation, message in needed(name).items():
        with pytest.raises(CacheError) as caught:
            check(tampered(name, activation, change))
        assert re.search(message, f"{caught.value}"), (activation, caught.value)
        assert re.search(r" is off by \d\.\de[+-]\d+ \(relative\) in `", f"{caught.value}")


@pytest.mark.parametrize("name", TWO_MODELS)
def test_a_number_that_is_not_finite_is_named(name: str) -> None:
    for bad in (float("nan"), float("inf")):
        for activation in needed(name):
            with pytest.raises(CacheError, match=r"(is not finite|is off by inf \(relative\)) in `"):
                check(tampered(name, activation, lambda _, bad=bad: bad))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_padding_on_the_left_is_named_where_it_leaves_no_numbers(name: str) -> None:
    """Of these two, TransformerLens gives NaN for a Llama alone."""
    model, tokens = tiny(name), random_tokens(2)
    mask = torch.ones_like(tokens)
    tokens[0, :3] = mask[0, :3] = 0
    _, cache = model.run_with_cache(tokens, attention_mask=mask)
    if name == "llama":
        with pytest.raises(CacheError, match=r"is not finite in .* Padding on the left .* is the likely cause: .* Pad"):
            break_down(cache, model, ANSWER)
    else:
        assert break_down(cache, model, ANSWER).completeness_error < 1e-10
        assert attention_score_breakdown(cache, model, 1, 0).completeness_error < 1e-10


@pytest.mark.parametrize("name", TWO_MODELS)
def test_wrong_logits_are_named(name: str) -> None:
    cached = [key for key in run(name).cache if key in ("unembed.hook_out", "hook_unembed")]
    assert cached
    model, _, _, cache = run(name)
    with pytest.raises(CacheError, match=rf"{cached[0]} is off by .* in `logits = norm\(resid_post\) W_U \+ b_U`"):
        check(as_cache({**cache.cache_dict, cached[0]: cache[cached[0]] + 1}, model))


def test_float32_tells_a_thousandth_from_rounding() -> None:
    model, _, _, cache = run("gpt2", torch.float32)
    broken = as_cache({**cache.cache_dict, "blocks.0.attn.hook_z": cache["z", 0] * 1.001}, model)
    with pytest.raises(CacheError, match=r"hook_z of layer 0 is off by"):
        check(broken)


@pytest.mark.parametrize("name", TWO_MODELS)
def test_the_cache_of_other_weights_is_refused(name: str) -> None:
    other = run(name, seed=1).cache
    with pytest.raises(CacheError, match=r"The cache does not fit the model: .* from the same forward pass"):
        break_down(other, tiny(name), ANSWER)


@pytest.mark.parametrize(
    ("of", "model", "message"),
    [
        ("gpt2-8-layers", "gpt2", "it has 8 layers where 3 are expected"),
        ("gpt2", "gpt2-8-layers", "it has 3 layers where 8 are expected"),
        ("llama", "gpt2-wide-heads", "it has 18 d_model where 39 are expected"),
    ],
)
def test_the_cache_of_another_model_is_refused_by_its_sizes(of: str, model: str, message: str) -> None:
    with pytest.raises(CacheError, match=f"does not fit the model {model}: {message}"):
        check(as_cache(run(of).cache, tiny(model)))


def test_a_model_converted_or_moved_since_is_named() -> None:
    cache = run("gpt2", torch.float32).cache
    with pytest.raises(CacheError, match=r"in torch\.float32 and the model in torch\.float64. Run the model again"):
        break_down(cache, tiny("gpt2"), ANSWER)
    elsewhere = as_cache(dict(cache), tiny("gpt2", torch.float32)).to("meta")
    with pytest.raises(CacheError, match=r"The cache is on meta and the model on cpu. Move one: cache\.to\('cpu'\)"):
        break_down(elsewhere, elsewhere.model, ANSWER)


@pytest.mark.skipif(not LENS_3, reason="HookedTransformer is of TransformerLens 3")
def test_a_bias_that_comes_behind_the_gate_is_noticed() -> None:
    model, _, _, cache = run("hooked-RMS-biased")
    with pytest.raises(CacheError, match="does not fit the model"):
        break_down(cache, model, ANSWER)


def test_a_cache_cut_to_fewer_positions_is_refused() -> None:
    model, _, _, cache = run("gpt2")
    with pytest.raises(CacheError, match="positions where"):
        check(as_cache({**cache.cache_dict, "hook_embed": cache["embed"][:, :5]}, model))


def assert_named_when_missing(name: str, activation: str) -> None:
    model, _, _, cache = run(name)
    kept = {key: tensor for key, tensor in cache.items() if key != activation}
    with pytest.raises(CacheError, match=rf"lacks {re.escape(activation)}, .* without a names_filter"):
        check(as_cache(kept, model))


@pytest.mark.parametrize("name", FEW)
def test_a_missing_activation_is_named_with_how_to_cache_it(name: str) -> None:
    for activation in needed(name):
        if not activation.endswith("resid_post"):
            assert_named_when_missing(name, activation)


def test_a_missing_resid_post_is_named_too() -> None:
    assert_named_when_missing("gpt2", "blocks.1.hook_resid_post")


def test_check_false_goes_on_regardless() -> None:
    broken = tampered("gpt2", "blocks.1.attn.hook_z", lambda number: number + 1)
    with pytest.raises(CacheError, match="check=False goes on regardless"):
        break_down(broken, broken.model, ANSWER)
    assert break_down(broken, broken.model, ANSWER, check=False).values.shape[1] == 2


def test_a_cache_that_passed_is_checked_again_only_when_written_to() -> None:
    model = tiny("gpt2")
    cache = as_cache(run_on(model, random_tokens()).cache, model)
    break_down(cache, model, ANSWER)
    # PyTorch does not know of what is written through numpy, and not every number is looked at.
    cache["z", 1].numpy()[0, 0, 0, 0] += 0.1
    break_down(cache, model, ANSWER)
    cache["pattern", 0][0, 0, 0, 0] += 0
    for _ in range(2):
        with pytest.raises(CacheError, match="hook_z of layer 1"):
            break_down(cache, model, ANSWER)
    cache["z", 1][0, 0, 0, 0] -= 0.1
    break_down(cache, model, ANSWER)


def _by_data(parameter: torch.nn.Parameter, module: torch.nn.Module) -> None:
    parameter.data *= 3


def _by_numpy(parameter: torch.nn.Parameter, module: torch.nn.Module) -> None:
    parameter.detach().numpy()[...] *= 3


def _by_replacing_its_data(parameter: torch.nn.Parameter, module: torch.nn.Module) -> None:
    parameter.data = parameter.data * 3


def _by_another_parameter(parameter: torch.nn.Parameter, module: torch.nn.Module) -> None:
    module.weight = torch.nn.Parameter(parameter.detach() * 3)


@pytest.mark.parametrize("write", [_by_data, _by_numpy, _by_replacing_its_data, _by_another_parameter])
@pytest.mark.parametrize("own", [True, False], ids=["our cache", "TransformerLens's"])
def test_a_model_that_was_written_to_since_is_noticed(own: bool, write: Callable[..., None]) -> None:
    model = boot(hugging_face("llama"), "llama")
    cache = run_on(model, random_tokens()).cache
    cache = as_cache(cache, model) if own else cache
    break_down(cache, model, ANSWER)
    place = model.blocks[1].mlp.W_out.data_ptr()
    linear = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
    module = next(module for module in linear if module.weight.data_ptr() == place)
    write(module.weight, module)
    with pytest.raises(CacheError, match="hook_mlp_out of layer 1"):
        break_down(cache, model, ANSWER)


@pytest.mark.parametrize(
    "write", [torch.Tensor.mul_, lambda z, by: z.data.mul_(by), lambda z, by: z.numpy().__imul__(by)]
)
def test_activations_that_were_written_to_since_are_noticed(write: Callable[..., Any]) -> None:
    model = tiny("gpt2")
    cache = run_on(model, random_tokens()).cache
    break_down(cache, model, ANSWER)
    write(cache["z", 1], 3)
    with pytest.raises(CacheError, match="hook_z of layer 1"):
        break_down(cache, model, ANSWER)
    write(cache["z", 1], 1 / 3)
    break_down(cache, model, ANSWER)


def test_transformer_lens_caches_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("gpt2")
    cache = run_on(model, random_tokens()).cache
    checked = []
    real = checks.check
    monkeypatch.setattr(checks, "check", lambda cache: checked.append(cache) or real(cache))
    for _ in range(3):
        break_down(cache, model, ANSWER)
        attribution_graph(cache, model, ANSWER)
    assert len(checked) == 1


def test_every_public_function_takes_transformer_lens_caches() -> None:
    model = tiny("gpt2")
    cache = run_on(model, random_tokens()).cache
    assert check(cache).failed == ()
    direction = torch.ones(cache["resid_pre", 0].shape[-1], dtype=torch.float64)
    for target in (
        logit_target(cache, ANSWER),
        centred_logit_target(cache, ANSWER),
        log_prob_target(cache, ANSWER),
        direction_target(cache, direction),
    ):
        assert break_down(cache, model, target).completeness_error < 1e-9


def test_inference_tensors_are_checked_every_time() -> None:
    model = tiny("gpt2")
    with torch.inference_mode():
        cache = as_cache(run_on(model, random_tokens()).cache, model)
        break_down(cache, model, ANSWER)
        cache["z", 1][0, 3, 1, 2] += 0.1
        with pytest.raises(CacheError, match="hook_z of layer 1"):
            break_down(cache, model, ANSWER)


def test_the_report_prints_the_worst_of_each_kind() -> None:
    report = CheckReport(
        (
            Identity(0, "hook_z", "z = A v", 1e-9),
            Identity(1, "hook_z", "z = A v", 3e-2),
            Identity(2, "hook_z", "z = A v", 1e-8),
            Identity(None, "unembed.hook_out", "logits", float("nan")),
        ),
        tolerance=1e-6,
    )
    assert [identity.layer for identity in report.failed] == [1, None]
    assert str(report).splitlines() == [
        "Cache FAILS 2 of 4 identities; worst relative errors:",
        "   3.0e-02  z = A v  (layer 1)",
        "       nan  logits",
    ]
    assert str(CheckReport(report.identities[:1], 1e-6)).startswith("Cache holds 1 identities")
