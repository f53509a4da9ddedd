"""Every method of the cache as TransformerLens's own gives it, over a wide set of arguments; and where that is wrong.

TransformerLens leaves out a norm's own weight, so values are compared on models whose norms have none to leave out. In
half precision both sides round, so each is compared with TransformerLens's own method in float64 on the same numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from models import LENS_3, POSITIONS, VOCAB, random_tokens, run_on, tiny
from oracles import assert_close
from torch import Tensor
from transformer_lens import ActivationCache as LensCache
from transformer_lens.utilities import Slice as LensSlice

from recursive_dla import ActivationCache, InputError, load_model
from recursive_dla.cache.slices import Slice

PROMPTS = 5
MODELS = ("gpt2", "llama-biased", "native-attention-only", "gpt2-compatible")
if LENS_3:
    MODELS = ("gpt2-compatible", "hooked-LNPre", "hooked-RMS", "hooked-RMSPre", "hooked-attention-only")
BATCHES = ("batch", "one prompt", "no batch")
DTYPES = (torch.float32, torch.bfloat16)

Call = tuple[str, dict[str, Any]]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For models as small as these, waking a second thread takes longer than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def folded(name: str, dtype: torch.dtype) -> Any:
    """A model whose norms have no weight or bias of their own."""
    model = tiny(name, dtype, seed=23)
    with torch.no_grad():
        for parameter, value in _norm_parameters(model):
            parameter.fill_(value)
    return model


def _norm_parameters(model: Any) -> Iterator[tuple[Tensor, float]]:
    norms = [model.ln_final, *(getattr(block, name, None) for block in model.blocks for name in ("ln1", "ln2"))]
    for norm in norms:
        for name, value in (("w", 1.0), ("b", 0.0)):
            parameter = getattr(norm, name, None)
            if parameter is not None:
                yield parameter, value


@cache
def exact(name: str) -> Any:
    """The same model in float64, with the weights that it has in half precision."""
    model = tiny(name, torch.float64, seed=29)
    with torch.no_grad():
        rounded = dict(folded(name, torch.bfloat16).named_parameters())
        for parameter_name, parameter in model.named_parameters():
            parameter.copy_(rounded[parameter_name])
    return model


@cache
def sides(name: str, batch: str, dtype: torch.dtype) -> tuple[ActivationCache, Any, Any]:
    """Our cache, TransformerLens's of the same run, and TransformerLens's in float64 where that is another one."""
    model = folded(name, dtype)
    tokens = random_tokens(PROMPTS if batch == "batch" else 1)
    has_batch_dim = batch != "no batch"
    activations = run_on(model, tokens, remove_batch_dim=not has_batch_dim).cache.cache_dict
    ours = ActivationCache(activations, model, has_batch_dim)
    theirs = LensCache(dict(activations), model, has_batch_dim)
    if dtype == torch.float32:
        return ours, theirs, theirs
    wide = {key: each.double() if each.is_floating_point() else each for key, each in activations.items()}
    return ours, theirs, LensCache(wide, exact(name), has_batch_dim)


def assert_same(name: str, batch: str, dtype: torch.dtype, call: Callable[[Any], Any]) -> None:
    """Equal shapes, labels and values: to 1e-5, and in half precision as near to the true ones as theirs are."""
    ours, theirs, reference = (call(side) for side in sides(name, batch, dtype))
    if isinstance(ours, tuple):
        assert ours[1] == theirs[1]
        ours, theirs, reference = ours[0], theirs[0], reference[0]
    assert ours.shape == theirs.shape
    if theirs.numel() == 0:
        return
    size, error = reference.abs().max(), (ours.double() - reference.double()).abs().max()
    if dtype == torch.float32:
        assert error <= 1e-5 * size
    else:
        their_error = (theirs.double() - reference).abs().max()
        assert error <= 2**-7 * size
        assert error <= 1.25 * their_error + 2**-9 * size


def layers(name: str) -> list[int | None]:
    count = folded(name, torch.float32).cfg.n_layers
    return [None, -1, 0, 1, count - 1, count]


def is_last(name: str, layer: int | None) -> bool:
    return layer in (None, -1, folded(name, torch.float32).cfg.n_layers)


def has_mlp(name: str) -> bool:
    return "attention-only" not in name


def forms(size: int) -> list[Any]:
    """Every form of a slice, of a dimension of some size."""
    middle = size // 2
    found = [
        None,
        2,
        -1,
        np.int64(middle),
        (middle,),
        (1, size - 2),
        (0, size - 1, 2),
        (-3, None),
        slice(1, middle),
        slice(None, None, 3),
        [0, size - 2, 2],
        np.array([1, middle]),
        torch.tensor([middle, 1]),
        torch.tensor(middle),
        LensSlice((1, middle)),
        LensSlice(2),
        LensSlice([size - 1, 0]),
    ]
    if not LENS_3:
        return found
    # It takes these for arrays, or not at all.
    return [
        each for each in found if not isinstance(each, np.integer) and not (isinstance(each, Tensor) and not each.ndim)
    ]


SLICES = forms(POSITIONS)
A_FEW_SLICES: list[Any] = [None, -1, (1, 5, 2), [0, 5, 2]]
DIRECTIONS = torch.linspace(-1, 1, 1000)


def direction(name: str, dtype: torch.dtype, count: int | None = None) -> Tensor:
    """A direction of the model's size, or several."""
    shape = (folded(name, dtype).cfg.d_model,) if count is None else (folded(name, dtype).cfg.d_model, count)
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def options(**values: list[Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of some arguments."""
    for chosen in itertools.product(*values.values()):
        yield dict(zip(values, chosen, strict=True))


def everywhere_of(names: Iterable[str]) -> Any:
    """Models, kinds of batches and precisions in every combination; `make test` runs one for each model."""
    names = list(names)
    few = set(zip(names, itertools.cycle(BATCHES), itertools.cycle(DTYPES)))
    cases = itertools.product(names, BATCHES, DTYPES)
    return pytest.mark.parametrize(
        ("name", "batch", "dtype"),
        [
            pytest.param(
                *(name, batch, dtype),
                id=f"{name}, {batch}, {str(dtype)[6:]}",
                marks=() if (name, batch, dtype) in few else pytest.mark.thorough,
            )
            for name, batch, dtype in cases
        ],
    )


everywhere = everywhere_of(MODELS)


def compare(name: str, batch: str, dtype: torch.dtype, method: str, given: dict[str, Any]) -> None:
    try:
        assert_same(name, batch, dtype, lambda side: getattr(side, method)(**given))
    except Exception as error:
        error.add_note(f"{method}({', '.join(f'{key}={value!r}' for key, value in given.items())})")
        raise


# --- the residual stream ---------------------------------------------------------------------------------------------


@everywhere
def test_accumulated_resid(name: str, batch: str, dtype: torch.dtype) -> None:
    wide = options(
        layer=layers(name),
        incl_mid=[False, True] if has_mlp(name) else [False],
        apply_ln=[False, True],
        mlp_input=[False, True] if has_mlp(name) else [False],
        return_labels=[True],
    )
    sliced = options(layer=[None, 1], apply_ln=[False, True], pos_slice=SLICES)
    for given in (*wide, *sliced):
        if not (given.get("mlp_input") and is_last(name, given["layer"])):
            compare(name, batch, dtype, "accumulated_resid", given)


@everywhere
def test_decompose_resid(name: str, batch: str, dtype: torch.dtype) -> None:
    wide = options(
        layer=layers(name),
        mlp_input=[False, True] if has_mlp(name) else [False],
        mode=["all", "mlp", "attn"],
        apply_ln=[False, True],
        incl_embeds=[True, False],
        return_labels=[True],
    )
    sliced = options(layer=[None, 1], apply_ln=[False, True], pos_slice=SLICES)
    for given in (*wide, *sliced):
        if given.get("mlp_input") and is_last(name, given["layer"]):
            continue
        if not given.get("incl_embeds", True) and _writes_nothing(name, given):
            continue
        compare(name, batch, dtype, "decompose_resid", given)


def _writes_nothing(name: str, given: dict[str, Any]) -> bool:
    """Nothing is written before this point, and TransformerLens cannot stack nothing."""
    if given["mode"] == "mlp":
        return given["layer"] == 0 or not has_mlp(name)
    return given["layer"] == 0 and not given["mlp_input"]


@everywhere
@pytest.mark.parametrize("expand_neurons", [True, False])
def test_get_full_resid_decomposition(name: str, batch: str, dtype: torch.dtype, expand_neurons: bool) -> None:
    if LENS_3 and expand_neurons and not has_mlp(name):
        pytest.skip("TransformerLens 3 looks for the MLPs of an attention-only model")
    wide = options(
        layer=layers(name),
        mlp_input=[False, True] if has_mlp(name) else [False],
        apply_ln=[False, True],
        return_labels=[True],
    )
    sliced = options(layer=[None, 1], apply_ln=[False, True], pos_slice=SLICES)
    projected = options(
        layer=[None, 1],
        apply_ln=[False, True],
        project_output_onto=[direction(name, dtype), direction(name, dtype, 3)],
        return_labels=[True],
    )
    if dtype == torch.bfloat16:
        projected = iter(())  # TransformerLens multiplies a bias in float32 with the direction, and fails
    for given in (*wide, *sliced, *projected):
        if given.get("mlp_input") and is_last(name, given["layer"]):
            continue
        compare_projected(
            name, batch, dtype, "get_full_resid_decomposition", {**given, "expand_neurons": expand_neurons}
        )


def compare_projected(name: str, batch: str, dtype: torch.dtype, method: str, given: dict[str, Any]) -> None:
    """Theirs wants the direction in the type of the cache, and the float64 reference in float64."""
    onto = given.get("project_output_onto")
    if onto is None:
        compare(name, batch, dtype, method, given)
        return
    given = {key: value for key, value in given.items() if key != "project_output_onto"}
    onto = onto.to(dtype)

    def call(side: Any) -> Any:
        if isinstance(side, ActivationCache):
            return getattr(side, method)(**given, project_onto=onto)
        return getattr(side, method)(**given, project_output_onto=onto.to(side["resid_post", 0].dtype))

    assert_same(name, batch, dtype, call)


# --- heads -----------------------------------------------------------------------------------------------------------


@everywhere
def test_stack_head_results(name: str, batch: str, dtype: torch.dtype) -> None:
    wide = options(layer=layers(name), incl_remainder=[False, True], apply_ln=[False, True], return_labels=[True])
    sliced = options(layer=[-1, 1], incl_remainder=[True], apply_ln=[False, True], pos_slice=SLICES)
    for given in (*wide, *sliced):
        if given["layer"] == 0 and given["incl_remainder"]:
            continue  # see test_the_remainder_before_the_first_layer_is_what_it_reads
        compare(name, batch, dtype, "stack_head_results", given)


@everywhere
def test_compute_head_results(name: str, batch: str, dtype: torch.dtype) -> None:
    def call(side: Any) -> Tensor:
        copy = type(side)(dict(side.cache_dict), side.model, side.has_batch_dim)
        copy.compute_head_results()
        return copy.stack_activation("result")

    assert_same(name, batch, dtype, call)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith(("hooked", "gpt2"))])
def test_head_results_that_the_model_cached(name: str, batch: str) -> None:
    """With ``use_attn_result``, each head's result is an activation, and is used as it is."""
    model = tiny(name, torch.float32, seed=31)
    model.set_use_attn_result(True)
    cached = run_on(
        model, random_tokens(PROMPTS if batch == "batch" else 1), remove_batch_dim=batch == "no batch"
    ).cache
    model.set_use_attn_result(False)
    ours = ActivationCache(cached.cache_dict, model, cached.has_batch_dim)
    assert ours.cached_head_results(0) is cached["result", 0]
    without = {key: each for key, each in cached.items() if not key.endswith("hook_result")}
    for given in options(layer=[-1, 1], incl_remainder=[False, True], pos_slice=A_FEW_SLICES):
        labels = {"return_labels": True}
        stack, theirs = (side.stack_head_results(**given, **labels) for side in (ours, cached))
        assert stack[1] == theirs[1]
        assert_close(stack[0], theirs[0], 1e-5)
        assert_close(ActivationCache(without, model, cached.has_batch_dim).stack_head_results(**given), theirs[0], 1e-5)


# --- neurons ---------------------------------------------------------------------------------------------------------

D_MLP = 13
NEURONS: list[Any] = [None, 3, (2, 9), torch.tensor([6, 2])]
with_mlp = everywhere_of(filter(has_mlp, MODELS))


@with_mlp
def test_get_neuron_results(name: str, batch: str, dtype: torch.dtype) -> None:
    onto = [None, direction(name, dtype), direction(name, dtype, 3)]
    calls = [
        *options(layer=[0, 1, -1], neuron_slice=NEURONS, pos_slice=[None, -1], project_output_onto=onto),
        *options(layer=[0], neuron_slice=forms(D_MLP), pos_slice=[(1, 5)], project_output_onto=onto),
        *options(layer=[0], neuron_slice=[(2, 9)], pos_slice=SLICES, project_output_onto=onto),
        *options(layer=[1], neuron_slice=[None, (2, 9)], pos_slice=A_FEW_SLICES, project_output_onto=onto),
    ]
    for given in calls:
        if LENS_3 and given["layer"] == -1:
            given["layer"] = 1  # TransformerLens 3 counts back here only in the activations, not in the weights
        compare_projected(name, batch, dtype, "get_neuron_results", _squeezed(given))


def _squeezed(given: dict[str, Any]) -> dict[str, Any]:
    """Theirs takes one neuron along several directions for several neurons."""
    onto = given["project_output_onto"]
    if onto is not None and Slice(given["neuron_slice"]).mode == "int":
        return {**given, "neuron_slice": (2, 9)}
    return given


@with_mlp
def test_stack_neuron_results(name: str, batch: str, dtype: torch.dtype) -> None:
    onto = [None, direction(name, dtype), direction(name, dtype, 3)]
    flags = {"incl_remainder": [False, True], "apply_ln": [False, True], "project_output_onto": onto}
    calls = [
        *options(layer=layers(name), **flags, return_labels=[True]),
        *options(layer=[-1], **flags, neuron_slice=NEURONS, return_labels=[True]),
        *options(layer=[-1], project_output_onto=onto, neuron_slice=forms(D_MLP), return_labels=[True]),
        *options(layer=[1], project_output_onto=onto, pos_slice=SLICES),
        *options(layer=[1], **flags, pos_slice=A_FEW_SLICES),
        *options(layer=[-1], **flags, pos_slice=[[0, 5, 2]], neuron_slice=[3, (2, 9)]),
        *([] if LENS_3 else options(layer=[1], **flags, mlp_input=[True])),
    ]
    for given in calls:
        if given["layer"] == 0 and given["incl_remainder"]:
            continue  # see test_the_remainder_before_the_first_layer_is_what_it_reads
        if LENS_3 and Slice(given.get("neuron_slice")).mode == "int":
            continue  # TransformerLens 3 drops the axis that it then stacks along
        if dtype == torch.bfloat16 and given["project_output_onto"] is not None and given.get("apply_ln"):
            continue  # TransformerLens multiplies what it normalised to float32 with the direction, and fails
        compare_projected(name, batch, dtype, "stack_neuron_results", given)


# --- any activation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", MODELS)
def test_stack_activation(name: str, batch: str) -> None:
    ours, theirs, _ = sides(name, batch, torch.float32)
    named = ["q", "k", "v", "z", "attn_scores", "pattern", "resid_pre", "resid_post", "attn_out"]
    named += ["resid_mid", "mlp_out", "pre", "post"] if has_mlp(name) else []
    for activation in named:
        for layer in layers(name):
            if layer == 0:  # TransformerLens cannot stack nothing
                assert ours.stack_activation(activation, 0).shape == (0, *ours[activation, 0].shape)
            else:
                assert torch.equal(ours.stack_activation(activation, layer), theirs.stack_activation(activation, layer))
    norms = ["ln1", "ln2"] if has_mlp(name) else ["ln1"]
    for given in options(activation_name=["scale", "normalized"], sublayer_type=norms):
        assert torch.equal(ours.stack_activation(**given), theirs.stack_activation(**given))


# --- norms and logits ------------------------------------------------------------------------------------------------

PROMPT_SLICES = forms(PROMPTS)
A_FEW_PROMPT_SLICES: list[Any] = [None, 2, (1, 4), [0, 3]]


@everywhere
def test_apply_ln_to_stack(name: str, batch: str, dtype: torch.dtype) -> None:
    for given in options(
        layer=layers(name),
        mlp_input=[False, True] if has_mlp(name) else [False],
        pos_slice=A_FEW_SLICES,
        batch_slice=A_FEW_PROMPT_SLICES if batch == "batch" else [None],
        recompute_ln=[False, True],
    ):
        if given["mlp_input"] and is_last(name, given["layer"]):
            continue
        assert_same(name, batch, dtype, lambda side, given=given: _scaled(side, batch, given))
    each = [{"pos_slice": form} for form in SLICES]
    each += [{"pos_slice": (1, 5), "batch_slice": form} for form in PROMPT_SLICES] if batch == "batch" else []
    for given in each:
        assert_same(name, batch, dtype, lambda side, given=given: _scaled(side, batch, given))


def _scaled(side: Any, batch: str, given: dict[str, Any]) -> Tensor:
    stack = side.decompose_resid(1, pos_slice=given["pos_slice"])
    return side.apply_ln_to_stack(stack, **given, has_batch_dim=batch != "no batch")


@pytest.mark.parametrize("name", MODELS)
def test_apply_ln_to_the_stack_of_one_prompt(name: str) -> None:
    """A stack without a batch dimension, of one prompt of a cache that has one."""
    for given in options(pos_slice=A_FEW_SLICES, batch_slice=[2, -1]):

        def call(side: Any, given: dict[str, Any] = given) -> Tensor:
            stack = side.decompose_resid(pos_slice=given["pos_slice"])[:, given["batch_slice"]]
            return side.apply_ln_to_stack(stack, **given, has_batch_dim=False)

        assert_same(name, "batch", torch.float32, call)


def answers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(1, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


@everywhere
def test_logit_attrs(name: str, batch: str, dtype: torch.dtype) -> None:
    for tokens, given in _attributions(name, batch):
        for incorrect in (None, answers(*tokens.shape, seed=1) if isinstance(tokens, Tensor) else 17):
            if isinstance(tokens, str) and incorrect is not None:
                incorrect = "w17"

            def call(side: Any, tokens: Any = tokens, incorrect: Any = incorrect, given: Any = given) -> Tensor:
                stack = side.decompose_resid(pos_slice=given.get("pos_slice"))
                return side.logit_attrs(stack, tokens, incorrect, **given, has_batch_dim=batch != "no batch")

            assert_same(name, batch, dtype, call)


def _attributions(name: str, batch: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Tokens, and the slices that they fit."""
    single: list[Any] = [5, torch.tensor(5), torch.tensor([5]), torch.tensor([[5]])]
    if not name.startswith(("hooked", "native")):
        single.append("w5")  # the others have no tokenizer
    prompts = PROMPTS if batch == "batch" else 1
    for form in SLICES:
        yield 5, {"pos_slice": form}
    for form in PROMPT_SLICES if batch == "batch" else []:
        yield torch.tensor(5), {"pos_slice": (1, 5), "batch_slice": form}
    for pos_slice in A_FEW_SLICES:
        positions = Slice(pos_slice)
        taken = len(positions.indices(POSITIONS))
        for tokens in single:
            yield tokens, {"pos_slice": pos_slice}
        if batch == "no batch":
            if positions.mode != "int":
                yield answers(taken), {"pos_slice": pos_slice}
            continue
        if batch == "one prompt":
            continue
        for batch_slice in A_FEW_PROMPT_SLICES:
            some = Slice(batch_slice)
            given = {"pos_slice": pos_slice, "batch_slice": batch_slice}
            yield 5, given
            count = len(some.indices(prompts))
            if some.mode == "int":
                if positions.mode != "int":
                    yield answers(taken), given
                continue
            if positions.mode == "int":
                yield answers(count), given
                continue
            if not LENS_3:  # see test_a_token_for_each_prompt
                yield answers(count), given
            yield answers(count, taken), given
            yield answers(1, taken), given
            if taken != count:
                yield answers(taken), given


# --- the demo model --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2() -> tuple[ActivationCache, Any]:
    model = load_model("demo")
    model.enable_compatibility_mode()
    _, cached = run_on(model, model.to_tokens("When John and Mary went to the store, John gave a drink to"))[2:]
    return ActivationCache(cached.cache_dict, model), cached


SMOLLM2: list[Call] = [
    *(
        (method, given)
        for method in ("accumulated_resid", "decompose_resid", "stack_head_results")
        for given in options(layer=[None, 0, 15, 29], apply_ln=[False, True], pos_slice=[None, -1, (2, 9, 3)])
    ),
    ("decompose_resid", {"layer": 15, "mlp_input": True, "mode": "attn"}),
    ("stack_head_results", {"layer": 7, "incl_remainder": True}),
    ("stack_neuron_results", {"layer": 2, "incl_remainder": True, "apply_ln": True}),
    ("stack_neuron_results", {"layer": -1, "neuron_slice": (100, 110), "pos_slice": [-1, 3]}),
    ("get_neuron_results", {"layer": 29, "neuron_slice": [1, 1535], "pos_slice": -1}),
    ("get_full_resid_decomposition", {"pos_slice": -1, "apply_ln": True}),
    ("get_full_resid_decomposition", {"layer": 15, "mlp_input": True, "expand_neurons": False}),
    ("stack_activation", {"activation_name": "pattern"}),
]


@pytest.mark.demo
def test_smollm2(smollm2: tuple[ActivationCache, Any]) -> None:
    ours, theirs = smollm2
    for method, given in SMOLLM2:
        if method not in ("get_neuron_results", "stack_activation"):
            given = {**given, "return_labels": True}
        mine, yours = (getattr(side, method)(**given) for side in smollm2)
        if isinstance(mine, tuple):
            assert mine[1] == yours[1]
            mine, yours = mine[0], yours[0]
        assert mine.shape == yours.shape
        if yours.numel():
            assert_close(mine, yours, 1e-5)
    for stack in (theirs.decompose_resid(), theirs.stack_head_results()):
        for tokens in (" Mary", theirs.model.to_single_token(" Mary"), torch.tensor(1000)):
            assert_close(ours.logit_attrs(stack, tokens), theirs.logit_attrs(stack, tokens), 1e-5)
        pairs = (" Mary", " John"), (answers(15), answers(15, seed=1))
        for right, wrong in pairs:
            assert_close(ours.logit_attrs(stack, right, wrong), theirs.logit_attrs(stack, right, wrong), 1e-5)


# --- where TransformerLens is wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_remainder_before_the_first_layer_is_what_it_reads(name: str) -> None:
    """TransformerLens takes the layer before the first for the last, and gives the final stream."""
    ours, theirs, _ = sides(name, "batch", torch.float32)
    methods = ["stack_head_results", *(["stack_neuron_results"] if has_mlp(name) else [])]
    for method in methods:
        stack, labels = getattr(ours, method)(0, incl_remainder=True, return_labels=True)
        assert labels == ["remainder"]
        assert torch.equal(stack[0], ours["resid_pre", 0])
        assert torch.equal(getattr(theirs, method)(0, incl_remainder=True)[0], ours["resid_post", -1])


@pytest.mark.parametrize("name", ["gpt2", "llama-biased", "native-attention-only"])
def test_a_norm_of_its_own_counts(name: str) -> None:
    """TransformerLens leaves its weight out without a word. The formula, place by place."""
    model = tiny(name, torch.float64)
    cached = run_on(model, random_tokens(PROMPTS)).cache
    ours = ActivationCache(cached.cache_dict, model)
    norms: list[tuple[dict[str, Any], Any]] = [({}, model.ln_final), ({"layer": 1}, model.blocks[1].ln1)]
    if has_mlp(name):
        norms.append(({"layer": 1, "mlp_input": True}, model.blocks[1].ln2))
    for given, norm in norms:
        stack = ours.decompose_resid(**given)
        expected = torch.empty_like(stack)
        stream = stack.sum(0)
        for place in itertools.product(*map(range, stack.shape[:-1])):
            part, whole = stack[place], stream[place[1:]]
            if model.cfg.normalization_type == "LN":
                scale = (whole.var(unbiased=False) + model.cfg.eps).sqrt()
                expected[place] = norm.w * (part - part.mean()) / scale
            else:
                expected[place] = norm.w * part / (whole.square().mean() + model.cfg.eps).sqrt()
        assert_close(ours.decompose_resid(**given, apply_ln=True), expected)
        assert_close(ours.apply_ln_to_stack(stack, **given), expected)
        if not given:
            directions = model.W_U[:, 5] - model.W_U[:, 17]
            assert_close(ours.logit_attrs(stack, 5, 17), expected @ directions)
        theirs = cached.decompose_resid(**given, apply_ln=True)
        assert (theirs - expected).abs().max() > 0.1 * expected.abs().max()


def test_the_end_of_the_model_has_no_mlp_input() -> None:
    """TransformerLens ignores the argument in some methods, and in others looks for a layer that is not there."""
    ours, theirs, _ = sides("gpt2", "batch", torch.float32)
    assert torch.equal(theirs.accumulated_resid(mlp_input=True), theirs.accumulated_resid())
    with pytest.raises(KeyError):
        theirs.decompose_resid(-1, mlp_input=True)
    calls: list[Callable[[int | None], Any]] = [
        lambda layer: ours.accumulated_resid(layer, mlp_input=True),
        lambda layer: ours.decompose_resid(layer, mlp_input=True),
        lambda layer: ours.get_full_resid_decomposition(layer, mlp_input=True),
        lambda layer: ours.stack_neuron_results(layer, mlp_input=True),
        lambda layer: ours.apply_ln_to_stack(ours.decompose_resid(), layer, mlp_input=True),
    ]
    for call in calls:
        for layer in (None, -1, 3):
            with pytest.raises(InputError, match="For what the last MLP reads give layer=2"):
                call(layer)


def test_a_stack_that_does_not_fit_its_slices_is_refused() -> None:
    """TransformerLens spreads one prompt's last position over all positions."""
    ours, theirs, _ = sides("gpt2", "one prompt", torch.float32)
    stack = ours.decompose_resid(pos_slice=-1)
    assert theirs.logit_attrs(stack, 5).shape == (8, POSITIONS)
    for call in (lambda: ours.logit_attrs(stack, 5), lambda: ours.apply_ln_to_stack(stack)):
        with pytest.raises(InputError, match=r"expected \[component, 1, 7, 10\]. Got \(8, 1, 10\)"):
            call()
    assert ours.logit_attrs(stack, 5, pos_slice=-1).shape == (8, 1)


@pytest.mark.parametrize("name", MODELS)
def test_a_token_for_each_prompt(name: str) -> None:
    """TransformerLens 3 spreads them over positions, where it does not fail."""
    ours = sides(name, "batch", torch.float32)[0]
    stack, tokens = ours.decompose_resid(), answers(PROMPTS)
    expected = torch.stack(
        [ours.logit_attrs(stack, int(token))[:, prompt] for prompt, token in enumerate(tokens)], dim=1
    )
    assert_close(ours.logit_attrs(stack, tokens), expected, 1e-6)


@pytest.mark.parametrize("name", [name for name in MODELS if "attention-only" in name])
def test_the_full_decomposition_of_an_attention_only_model(name: str) -> None:
    """TransformerLens 3 fails: it looks for the MLPs' biases."""
    ours = sides(name, "batch", torch.float32)[0]
    stack, labels = ours.get_full_resid_decomposition(return_labels=True)
    assert labels[-3:] == ["embed", "pos_embed", "bias"]
    assert_close(stack.sum(0), ours["resid_post", -1], 1e-5)
    with pytest.raises(InputError, match="has only attention, so there are no neurons"):
        ours.stack_neuron_results(-1)
