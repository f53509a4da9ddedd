"""The cache: as TransformerLens's own where that is right, and as the formulas say where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import (
    ATTENTION_ONLY,
    BRIDGES,
    COMPATIBLE,
    EVERY_MODEL,
    LENS_3,
    MODELS,
    POSITIONS,
    PROMPTS,
    TWO_MODELS,
    VOCAB,
    random_tokens,
    run,
    run_on,
    tiny,
    uncapped,
)
from oracles import Frozen, assert_close

from recursive_dla import ActivationCache
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.errors import CacheError, InputError

ANSWER, WRONG = 5, 17
# TransformerLens leaves out a norm's own weight, so its numbers can be compared where that is folded in.
FOLDED = (*COMPATIBLE, *(name for name in MODELS if name in ("hooked-LNPre", "hooked-RMSPre")))
BATCHES = ("batch", "one prompt", "no batch")
SLICES = [None, 2, -1, (1, 5), (0, 6, 2), [0, 5, 2], torch.tensor([3, 1])]


def caches(name: str, batch: str) -> tuple[Any, ActivationCache]:
    """TransformerLens's cache and ours of the same run."""
    model = tiny(name)
    cache = run_on(model, random_tokens(PROMPTS if batch == "batch" else 1), remove_batch_dim=batch == "no batch").cache
    return cache, ActivationCache(dict(cache.cache_dict), model, has_batch_dim=batch != "no batch")


def assert_same(ours: tuple[torch.Tensor, list[str]], theirs: tuple[torch.Tensor, list[str]]) -> None:
    assert ours[1] == theirs[1]
    assert_close(ours[0], theirs[0])


# --- a dictionary ----------------------------------------------------------------------------------------------------

KEYS = [
    "embed",
    "hook_embed",
    "blocks.1.attn.hook_pattern",
    "pattern1",
    ("pattern", 1),
    ("z", -1),
    ("z", 0, "attn"),
    ("pre", -1, "mlp"),
    ("resid_post", -2),
    ("scale", 1, "ln2"),
    ("normalized", 0, "ln1"),
    ("scale", None),
    ("mlp_out", 1, None),
    "scale",
]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_indexing_gives_what_transformer_lens_gives(name: str, batch: str) -> None:
    theirs, ours = caches(name, batch)
    for key in KEYS:
        assert ours[key] is theirs[key], key


def test_it_is_a_mapping() -> None:
    theirs, ours = caches("gpt2", "one prompt")
    assert len(ours) == len(theirs)
    assert list(ours) == list(ours.keys()) == list(theirs.keys())
    assert all(mine is yours for mine, yours in zip(ours.values(), theirs.values(), strict=True))
    assert [name for name, _ in ours.items()] == list(theirs)
    assert "hook_embed" in ours
    assert ("pattern", -1) in ours
    assert "hook_nothing" not in ours
    assert ours.has_embed
    assert ours.has_pos_embed
    assert not caches("llama", "one prompt")[1].has_pos_embed
    # Memory that several names share counts once.
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in theirs.values()}
    megabytes = sum(storages.values()) / 2**20
    assert repr(ours) == f"ActivationCache({len(theirs)} activations, {megabytes:.1f} MiB, has_batch_dim=True)"


@pytest.mark.parametrize("key", ["pattern7", ("pattern", 7), ("nothing", 0), "nothing"])
def test_an_unknown_key_is_named_in_full(key: Any) -> None:
    ours = caches("gpt2", "one prompt")[1]
    message = rf"(blocks\.7\.attn\.hook_pattern|hook_nothing) is not in the cache, .* {len(ours)}"
    with pytest.raises(KeyError, match=message):
        ours[key]


def test_nothing_changes_the_cache() -> None:
    theirs, ours = caches("gpt2-compatible", "batch")
    before = {name: (tensor, tensor.clone()) for name, tensor in theirs.cache_dict.items()}
    stack = ours.stack_head_results(apply_ln=True, incl_remainder=True)
    ours.logit_attrs(stack, ANSWER, WRONG)
    ours.decompose_resid(apply_ln=True)
    ours.tokens()
    assert list(ours) == list(before)
    for name, (tensor, copy) in before.items():
        assert ours[name] is tensor
        assert torch.equal(tensor, copy)
    with pytest.raises(TypeError):
        ours.cache_dict["hook_embed"] = torch.zeros(1)  # type: ignore[index]


# --- decompositions --------------------------------------------------------------------------------------------------

DECOMPOSITIONS: list[dict[str, Any]] = [
    {},
    {"layer": -1},
    {"layer": 0},
    {"layer": 1},
    {"layer": 1, "mlp_input": True},
    {"layer": 0, "mlp_input": True},
    {"mode": "attn"},
    {"mode": "mlp"},
    {"layer": 1, "mode": "attn", "mlp_input": True},
    {"layer": 1, "mode": "mlp", "mlp_input": True},
    {"incl_embeds": False},
    {"apply_ln": True},
    {"layer": 1, "apply_ln": True},
    {"layer": 1, "mlp_input": True, "apply_ln": True},
    *({"pos_slice": form} for form in SLICES),
    *({"pos_slice": form, "layer": 1, "apply_ln": True} for form in SLICES),
]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", FOLDED)
def test_decompose_resid_as_transformer_lens(name: str, batch: str) -> None:
    theirs, ours = caches(name, batch)
    for options in DECOMPOSITIONS:
        assert_same(
            ours.decompose_resid(**options, return_labels=True), theirs.decompose_resid(**options, return_labels=True)
        )


HEADS: list[dict[str, Any]] = [
    {},
    {"layer": None},
    {"layer": 1},
    {"incl_remainder": True},
    {"layer": 1, "incl_remainder": True},
    {"apply_ln": True},
    {"layer": 1, "apply_ln": True, "incl_remainder": True},
    *({"pos_slice": form, "apply_ln": True, "incl_remainder": True} for form in SLICES),
]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", FOLDED)
def test_stack_head_results_as_transformer_lens(name: str, batch: str) -> None:
    theirs, ours = caches(name, batch)
    for options in HEADS:
        assert_same(
            ours.stack_head_results(**options, return_labels=True),
            theirs.stack_head_results(**options, return_labels=True),
        )


@pytest.mark.parametrize("name", MODELS)
def test_decompositions_sum_to_the_stream(name: str) -> None:
    ours = as_cache(run(name, prompts=PROMPTS).cache, tiny(name))
    n_layers = ours.weights.n_layers
    assert_close(ours.decompose_resid().sum(0), ours["resid_post", -1])
    assert_close(ours.decompose_resid(1).sum(0), ours["resid_pre", 1])
    if ours.weights.has_mlp:
        assert_close(ours.decompose_resid(1, mlp_input=True).sum(0), ours["resid_mid", 1])
    assert_close(ours.stack_head_results(incl_remainder=True).sum(0), ours["resid_post", -1])
    assert_close(ours.stack_head_results(1, incl_remainder=True).sum(0), ours["resid_pre", 1])
    assert ours.stack_head_results(0).shape == (0, *ours["hook_embed"].shape)
    assert ours.decompose_resid(n_layers).shape == ours.decompose_resid().shape


def test_stacks_are_normalised_as_the_whole_stream_is() -> None:
    """With the norm's own weight, which TransformerLens leaves out."""
    for name in BRIDGES:
        ours = as_cache(run(name, prompts=PROMPTS).cache, tiny(name))
        model = tiny(name)
        norms = [(1, False, model.blocks[1].ln1), (None, False, model.ln_final)]
        if name not in ATTENTION_ONLY:
            norms.append((1, True, model.blocks[1].ln2))
        for layer, mlp_input, norm in norms:
            with torch.no_grad():
                stream = ours.decompose_resid(layer, mlp_input=mlp_input).sum(0)
                bias = getattr(norm, "b", None)
                expected = norm(stream) - (0 if bias is None else bias)
            assert_close(ours.decompose_resid(layer, mlp_input=mlp_input, apply_ln=True).sum(0), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda cache: cache.decompose_resid(4), r"`layer` must be from 0 to 3, -1 or None. Got 4"),
        (lambda cache: cache.stack_head_results(-2), r"`layer` must be from 0 to 3, -1 or None. Got -2"),
        (lambda cache: cache.decompose_resid(mode="both"), "`mode` must be 'all', 'mlp' or 'attn'. Got 'both'"),
        (lambda cache: cache.logit_attrs(cache.decompose_resid(), "w1 w2"), r"one token. It is 2: \['w1', 'w2'\]"),
        (
            lambda cache: cache.logit_attrs(cache.decompose_resid(), torch.tensor([1]), torch.tensor(1)),
            r"must have the same shape. Got \(1,\) and \(\)",
        ),
    ],
)
def test_bad_arguments_are_refused(types_unchecked: None, call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(caches("gpt2", "one prompt")[1])


# --- direct logit attribution ----------------------------------------------------------------------------------------


def answers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


# Each with what the stack is made with: positions taken, prompts taken.
ATTRIBUTIONS: list[tuple[Any, Any, dict[str, Any]]] = [
    ("w5", None, {}),
    ("w5", "w17", {}),
    (ANSWER, None, {}),
    (ANSWER, WRONG, {}),
    (torch.tensor(ANSWER), torch.tensor(WRONG), {}),
    (answers(PROMPTS), None, {}),
    (answers(PROMPTS), answers(PROMPTS, seed=1), {}),
    (answers(PROMPTS, POSITIONS), answers(PROMPTS, POSITIONS, seed=1), {}),
    (answers(1, POSITIONS), None, {}),
    (answers(PROMPTS), answers(PROMPTS, seed=1), {"pos_slice": -1}),
    (answers(PROMPTS), None, {"pos_slice": (2, 5)}),
    (answers(PROMPTS, 3), None, {"pos_slice": [0, 4, 2]}),
    (ANSWER, WRONG, {"pos_slice": 3}),
]
ONE_PROMPT: list[tuple[Any, Any, dict[str, Any]]] = [
    ("w5", "w17", {}),
    (ANSWER, WRONG, {"pos_slice": -1}),
    (torch.tensor(ANSWER), None, {"pos_slice": (1, 4)}),
    (answers(POSITIONS), answers(POSITIONS, seed=1), {}),
    (answers(3), None, {"pos_slice": [5, 0, 2]}),
]
# TransformerLens 3 multiplies a token per prompt into the positions.
needs_lens_4 = pytest.mark.skipif(LENS_3, reason="TransformerLens 3 differs here")


@needs_lens_4
@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize(("tokens", "incorrect", "options"), ATTRIBUTIONS)
def test_logit_attrs_as_transformer_lens(name: str, tokens: Any, incorrect: Any, options: dict[str, Any]) -> None:
    theirs, ours = caches(name, "batch")
    stack = ours.decompose_resid(**options)
    assert_close(
        ours.logit_attrs(stack, tokens, incorrect, **options), theirs.logit_attrs(stack, tokens, incorrect, **options)
    )


@needs_lens_4
@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize(("tokens", "incorrect", "options"), ONE_PROMPT)
def test_logit_attrs_without_batch_as_transformer_lens(
    name: str, tokens: Any, incorrect: Any, options: dict[str, Any]
) -> None:
    theirs, ours = caches(name, "no batch")
    stack = ours.stack_head_results(**options)
    options = {**options, "has_batch_dim": False}
    assert_close(
        ours.logit_attrs(stack, tokens, incorrect, **options), theirs.logit_attrs(stack, tokens, incorrect, **options)
    )


@pytest.mark.parametrize("batch_slice", [3, (2, 9), [0, 4]], ids=str)
def test_logit_attrs_takes_a_slice_of_the_prompts_as_transformer_lens(batch_slice: Any) -> None:
    theirs, ours = caches("gpt2-compatible", "batch")
    stack = ours.decompose_resid()
    assert_close(
        ours.logit_attrs(stack, ANSWER, batch_slice=batch_slice),
        theirs.logit_attrs(stack, ANSWER, batch_slice=batch_slice),
    )


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_logit_attrs_as_the_formula(name: str) -> None:
    model, _, _, cache = run(name, prompts=PROMPTS)
    ours = as_cache(cache, model)
    parts, heads = ours.decompose_resid(), ours.stack_head_results()
    for prompt in (0, PROMPTS - 1):
        frozen = Frozen(model, cache, prompt)
        u = frozen.direction(ANSWER, WRONG)
        for stack in (parts, heads):
            expected = [[frozen.to_logit(o[prompt, pos], u, pos) for pos in range(POSITIONS)] for o in stack]
            assert_close(ours.logit_attrs(stack, ANSWER, WRONG)[:, prompt], expected)
            at_four = ours.logit_attrs(stack[:, :, 4], ANSWER, WRONG, pos_slice=4)
            assert_close(at_four[:, prompt], [row[4] for row in expected])


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_attributions_and_constants_sum_to_the_logit(name: str) -> None:
    model, _, logits, cache = run(name, prompts=PROMPTS)
    ours, frozen = as_cache(cache, model), Frozen(model, cache)
    constants = frozen.logit_constants(frozen.direction(ANSWER), ANSWER)
    total = ours.logit_attrs(ours.decompose_resid(), ANSWER).sum(0) + sum(constants.values())
    assert_close(total, uncapped(model, logits[..., ANSWER]))


def test_shapes_of_a_model_of_eight_layers() -> None:
    model = tiny("gpt2-8-layers", torch.float32)
    ours = as_cache(run_on(model, random_tokens(positions=7)).cache, model)
    assert ours.decompose_resid().shape == (18, 1, 7, 64)
    assert ours.logit_attrs(ours.decompose_resid(mode="attn"), ANSWER).shape == (10, 1, 7)
    ours = as_cache(run_on(model, random_tokens(positions=15)).cache, model)
    heads, labels = ours.stack_head_results(return_labels=True)
    assert ours.logit_attrs(heads, ANSWER).shape == (128, 1, 15)
    assert labels == [f"L{layer}H{head}" for layer in range(8) for head in range(16)]


# --- tokens, and other caches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_tokens_as_cached_or_found_by_their_embedding(name: str, batch: str) -> None:
    ours = caches(name, batch)[1]
    expected = random_tokens(PROMPTS if batch == "batch" else 1)
    assert torch.equal(ours.tokens(), expected)
    activations = {key: tensor for key, tensor in ours.items() if key != "embed.hook_in"}
    found = ActivationCache(activations, ours.model, ours.has_batch_dim)
    assert torch.equal(found.tokens(), expected)
    activations["hook_embed"] = activations["hook_embed"] + 0.01
    assert ActivationCache(activations, ours.model, ours.has_batch_dim).tokens() is None


def test_other_caches_are_taken_as_they_are() -> None:
    theirs, ours = caches("gpt2", "one prompt")
    assert as_cache(ours, ours.model) is ours
    for given in (theirs, theirs.cache_dict, dict(theirs.cache_dict)):
        taken = as_cache(given, ours.model)
        assert isinstance(taken, ActivationCache)
        assert taken["hook_embed"] is theirs["hook_embed"]
        assert taken.has_batch_dim
    assert as_cache(ours, tiny("gpt2-relu")).model is tiny("gpt2-relu")
    assert not as_cache(caches("gpt2", "no batch")[0], ours.model).has_batch_dim


@pytest.mark.parametrize("given", [None, [1], torch.zeros(3), (torch.zeros(3), {})])
def test_what_is_no_cache_is_refused(given: Any) -> None:
    with pytest.raises(CacheError, match=r"Expected a cache from model.run_with_cache\(...\). Got "):
        as_cache(given, tiny("gpt2"))


def test_a_missing_activation_is_named_with_how_to_cache_it() -> None:
    ours = as_cache({"hook_embed": torch.zeros(1, 2, 10)}, tiny("gpt2"))
    with pytest.raises(CacheError, match=r"lacks blocks\.1\.attn\.hook_z, .* without a names_filter"):
        ours.batched("z", 1)
