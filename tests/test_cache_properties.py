"""What holds for the cache of any model, at any point, for any slices: drawn at random, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import (
    ATTENTION_ONLY,
    EVERY_MODEL,
    POSITIONS,
    VOCAB,
    WITH_EXPERTS,
    matrix,
    precision,
    random_tokens,
    run_on,
    tiny,
)
from oracles import assert_close
from torch import Tensor

from recursive_dla import ActivationCache
from recursive_dla.cache.slices import Slice

PROMPTS = 3
EXAMPLES = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For models as small as these, waking a second thread takes longer than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def cache_of(name: str, has_batch_dim: bool = True) -> ActivationCache:
    model = tiny(name)
    cached = run_on(model, random_tokens(PROMPTS if has_batch_dim else 1), remove_batch_dim=not has_batch_dim).cache
    return ActivationCache(cached.cache_dict, model, has_batch_dim)


names = st.sampled_from(EVERY_MODEL)
with_neurons = st.sampled_from([name for name in EVERY_MODEL if name not in (*ATTENTION_ONLY, *WITH_EXPERTS)])
batched = st.booleans()


def slices(size: int) -> st.SearchStrategy[Any]:
    """A slice of a dimension in any of its forms, never empty."""
    places = st.integers(0, size - 1)
    return st.one_of(
        st.none(),
        st.integers(-size, size - 1),
        places.flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, size), st.integers(1, 3))),
        st.lists(places, min_size=1, max_size=size),
        st.lists(places, min_size=1, max_size=size).map(torch.tensor),
        st.lists(st.booleans(), min_size=size, max_size=size).filter(any).map(torch.tensor),
    )


positions = slices(POSITIONS)


@st.composite
def points(draw: st.DrawFn, names: st.SearchStrategy[str] = names) -> tuple[str, dict[str, Any]]:
    """A model and a point of its residual stream."""
    name = draw(names)
    layer = draw(st.integers(0, len(tiny(name).blocks)))
    mlp_input = name not in ATTENTION_ONLY and layer < len(tiny(name).blocks) and draw(st.booleans())
    return name, {"layer": layer, "mlp_input": mlp_input}


def stream_at(ours: ActivationCache, layer: int, mlp_input: bool) -> Tensor:
    """The residual stream at a point, from the activations alone."""
    if layer == len(ours.model.blocks):
        return ours["resid_post", -1]
    mid = f"blocks.{layer}.hook_resid_mid"
    parallel = ours.weights.stored_layers[layer].parallel
    return ours[mid] if mlp_input and not parallel else ours["resid_pre", layer]


def direction(ours: ActivationCache, count: int | None, seed: int) -> Tensor:
    shape = (ours.weights.d_model,) if count is None else (ours.weights.d_model, count)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- pieces sum to the whole -----------------------------------------------------------------------------------------


A_FEW = settings(EXAMPLES, max_examples=6)
every_model = pytest.mark.parametrize("name", matrix(EVERY_MODEL))


def all_points(name: str) -> Iterator[dict[str, Any]]:
    n_layers = len(tiny(name).blocks)
    for layer in range(n_layers + 1):
        yield {"layer": layer, "mlp_input": False}
        if layer < n_layers and name not in ATTENTION_ONLY:
            yield {"layer": layer, "mlp_input": True}


@every_model
@A_FEW
@given(batched, positions)
def test_writers_sum_to_the_stream_at_every_point(name: str, has_batch_dim: bool, pos_slice: Any) -> None:
    ours = cache_of(name, has_batch_dim)
    for at in all_points(name):
        whole = Slice(pos_slice).apply(stream_at(ours, **at), dim=-2)
        assert_close(ours.decompose_resid(**at, pos_slice=pos_slice).sum(0), whole, precision(name))
        assert_close(ours.accumulated_resid(**at, pos_slice=pos_slice)[-1], whole, precision(name))


@every_model
@A_FEW
@given(batched, positions)
def test_everything_sums_to_the_stream_at_every_point(name: str, has_batch_dim: bool, pos_slice: Any) -> None:
    ours = cache_of(name, has_batch_dim)
    for at in all_points(name):
        whole = Slice(pos_slice).apply(stream_at(ours, **at), dim=-2)
        for expand_neurons in (False,) if name in WITH_EXPERTS else (False, True):
            parts, labels = ours.get_full_resid_decomposition(
                **at, expand_neurons=expand_neurons, pos_slice=pos_slice, return_labels=True
            )
            assert len(labels) == len(parts) == len(set(labels))
            assert_close(parts.sum(0), whole, precision(name))


@EXAMPLES
@given(names, batched)
def test_heads_and_biases_sum_to_the_attention(name: str, has_batch_dim: bool) -> None:
    ours = cache_of(name, has_batch_dim)
    n_heads = ours.weights.n_heads
    heads = ours.stack_head_results()
    for layer in range(ours.weights.n_layers):
        bias = ours.get_full_resid_decomposition(layer + 1, expand_neurons=False)[-1]
        before = ours.get_full_resid_decomposition(layer, expand_neurons=False)[-1]
        of_layer = heads[layer * n_heads : (layer + 1) * n_heads].sum(0)
        assert_close(of_layer + bias - before, ours["attn_out", layer], precision(name))


@EXAMPLES
@given(with_neurons, batched)
def test_neurons_and_bias_sum_to_the_mlp(name: str, has_batch_dim: bool) -> None:
    ours = cache_of(name, has_batch_dim)
    stacked = ours.stack_neuron_results(-1)
    place = 0
    for layer in range(ours.weights.n_layers):
        biases = []
        for end in (layer + 1, layer):
            with_mlps, without = (
                ours.get_full_resid_decomposition(end, expand_neurons=expand)[-1] for expand in (True, False)
            )
            biases.append(with_mlps - without)
        neurons = ours.get_neuron_results(layer)
        assert_close(neurons.sum(-2) + biases[0] - biases[1], ours["mlp_out", layer], precision(name))
        assert torch.equal(stacked[place : place + neurons.shape[-2]].movedim(0, -2), neurons)
        place += neurons.shape[-2]
    assert place == len(stacked)


@EXAMPLES
@given(points(), batched, positions, st.booleans(), st.sampled_from([None, 1, 4]))
def test_remainders_fill_up_to_the_stream(
    point: tuple[str, dict[str, Any]], has_batch_dim: bool, pos_slice: Any, apply_ln: bool, count: int | None
) -> None:
    name, at = point
    ours = cache_of(name, has_batch_dim)
    shared = {"incl_remainder": True, "pos_slice": pos_slice, "apply_ln": apply_ln}
    onto = direction(ours, count, seed=1)
    whole = Slice(pos_slice).apply(stream_at(ours, at["layer"], False), dim=-2)
    if apply_ln:
        whole = ours.apply_ln_to_stack(whole[None], at["layer"], pos_slice=pos_slice, has_batch_dim=has_batch_dim)[0]
    assert_close(ours.stack_head_results(at["layer"], **shared).sum(0), whole, precision(name))
    projected = ours.stack_head_results(at["layer"], **shared, project_onto=onto)
    assert_close(projected.sum(0), whole @ onto, 10 * precision(name))
    if name in (*ATTENTION_ONLY, *WITH_EXPERTS):
        return
    whole = Slice(pos_slice).apply(stream_at(ours, **at), dim=-2)
    if apply_ln:
        whole = ours.apply_ln_to_stack(whole[None], **at, pos_slice=pos_slice, has_batch_dim=has_batch_dim)[0]
    shared |= at
    assert_close(ours.stack_neuron_results(**shared, neuron_slice=(1, 9)).sum(0), whole, precision(name))
    projected = ours.stack_neuron_results(**shared, project_onto=onto)
    assert_close(projected.sum(0), whole @ onto, 10 * precision(name))


@EXAMPLES
@given(points(), batched, positions)
def test_scaled_pieces_sum_to_what_the_layer_reads(
    point: tuple[str, dict[str, Any]], has_batch_dim: bool, pos_slice: Any
) -> None:
    """The normalised stream as the model computes it, less the norm's bias."""
    name, at = point
    ours = cache_of(name, has_batch_dim)
    module = ours.model.ln_final
    if at["layer"] < ours.weights.n_layers:
        block = ours.model.blocks[at["layer"]]
        # A parallel block may have one norm for both; some blocks have none in front.
        module = getattr(block, "ln1", None)
        module = getattr(block, "ln2", module) if at["mlp_input"] else module
    parts = ours.decompose_resid(**at, apply_ln=True, pos_slice=pos_slice)
    stream = stream_at(ours, **at)
    if module is None or ours.weights.final_norm is None:
        expected = stream
    else:
        with torch.no_grad():
            expected = module(stream if has_batch_dim else stream[None])
        expected = expected.reshape(stream.shape)
        if getattr(module, "b", None) is not None:
            expected = expected - module.b
    assert_close(parts.sum(0), Slice(pos_slice).apply(expected, dim=-2), max(precision(name), 1e-6))


# --- slices commute with stacking ------------------------------------------------------------------------------------


@EXAMPLES
@given(points(), batched, positions, st.booleans())
def test_positions_commute_with_stacking(
    point: tuple[str, dict[str, Any]], has_batch_dim: bool, pos_slice: Any, apply_ln: bool
) -> None:
    name, at = point
    ours = cache_of(name, has_batch_dim)
    end = at["layer"] == ours.weights.n_layers
    calls = [
        ("accumulated_resid", at),
        ("decompose_resid", {**at, "layer": max(1, at["layer"]), "mlp_input": at["mlp_input"] and not end}),
        ("stack_head_results", {"layer": at["layer"], "incl_remainder": True}),
        ("get_full_resid_decomposition", {**at, "expand_neurons": name not in WITH_EXPERTS}),
    ]
    for method, arguments in calls:
        sliced = getattr(ours, method)(**arguments, apply_ln=apply_ln, pos_slice=pos_slice)
        whole = getattr(ours, method)(**arguments, apply_ln=apply_ln)
        assert_close(sliced, Slice(pos_slice).apply(whole, dim=-2), precision(name))


def assert_same(found: Tensor, expected: Tensor, relative: float) -> None:
    """Also of neurons that are silent everywhere."""
    if expected.any():
        assert_close(found, expected, relative)
    else:
        assert found.shape == expected.shape
        assert not found.any()


@EXAMPLES
@given(points(with_neurons), batched, positions, slices(7), st.booleans())
def test_neurons_commute_with_stacking(
    point: tuple[str, dict[str, Any]], has_batch_dim: bool, pos_slice: Any, neuron_slice: Any, apply_ln: bool
) -> None:
    name, at = point
    ours = cache_of(name, has_batch_dim)
    d_mlp = ours["post", 0].shape[-1]
    if isinstance(neuron_slice, Tensor) and neuron_slice.dtype == torch.bool:
        neuron_slice = torch.nn.functional.pad(neuron_slice, (0, d_mlp - 7))
    chosen = Slice(neuron_slice)
    at = {**at, "layer": max(1, at["layer"]), "mlp_input": at["mlp_input"] and at["layer"] > 0}
    layer, place = at["layer"], Slice(pos_slice)
    some, labels = ours.stack_neuron_results(
        **at, pos_slice=pos_slice, neuron_slice=neuron_slice, apply_ln=apply_ln, return_labels=True
    )
    every = ours.stack_neuron_results(**at, apply_ln=apply_ln)
    every = place.apply(every, dim=-2).unflatten(0, (layer, d_mlp))
    expected = chosen.kept().apply(every, dim=1).flatten(0, 1)
    assert_same(some, expected, precision(name))
    numbers = chosen.kept().indices(d_mlp)
    assert labels == [f"L{index}N{number}" for index in range(layer) for number in numbers]
    single = ours.get_neuron_results(layer - 1, neuron_slice, pos_slice)
    expected = chosen.apply(place.apply(ours.get_neuron_results(layer - 1), dim=-3), dim=-2)
    assert_same(single, expected, precision(name))


@EXAMPLES
@given(points(), slices(PROMPTS), positions)
def test_prompts_commute_with_stacking(point: tuple[str, dict[str, Any]], batch_slice: Any, pos_slice: Any) -> None:
    name, at = point
    ours = cache_of(name)
    prompts, taken = Slice(batch_slice), ours.apply_slice_to_batch_dim(batch_slice)
    assert taken.has_batch_dim == (prompts.mode != "int")
    calls = [
        ("accumulated_resid", {**at, "apply_ln": True}),
        ("stack_head_results", {"layer": at["layer"], "incl_remainder": True, "apply_ln": True}),
        ("get_full_resid_decomposition", {**at, "expand_neurons": False, "apply_ln": True}),
    ]
    for method, arguments in calls:
        whole = getattr(ours, method)(**arguments, pos_slice=pos_slice)
        assert_close(
            getattr(taken, method)(**arguments, pos_slice=pos_slice), prompts.apply(whole, dim=1), precision(name)
        )
    stack = ours.decompose_resid(pos_slice=pos_slice)
    expected = prompts.apply(ours.logit_attrs(stack, 5, 17, pos_slice=pos_slice), dim=1)
    assert_close(ours.logit_attrs(stack, 5, 17, pos_slice, batch_slice), expected, precision(name))
    own = taken.decompose_resid(pos_slice=pos_slice)
    found = taken.logit_attrs(own, 5, 17, pos_slice, has_batch_dim=taken.has_batch_dim)
    assert_close(found, expected, precision(name))


# --- reading along directions ----------------------------------------------------------------------------------------


@EXAMPLES
@given(points(), batched, positions, st.booleans(), st.sampled_from([None, 1, 4]))
def test_projecting_while_stacking_is_projecting_the_stack(
    point: tuple[str, dict[str, Any]], has_batch_dim: bool, pos_slice: Any, apply_ln: bool, count: int | None
) -> None:
    name, at = point
    ours = cache_of(name, has_batch_dim)
    onto = direction(ours, count, seed=2)
    shared: dict[str, Any] = {"pos_slice": pos_slice, "apply_ln": apply_ln}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("stack_head_results", {"layer": max(1, at["layer"]), **shared}),
        ("get_full_resid_decomposition", {**at, **shared, "expand_neurons": name not in WITH_EXPERTS}),
    ]
    if name not in (*ATTENTION_ONLY, *WITH_EXPERTS):
        calls.append(("stack_neuron_results", {"layer": max(1, at["layer"]), **shared}))
        calls.append(("get_neuron_results", {"layer": -1, "pos_slice": pos_slice}))
    for method, arguments in calls:
        stack = getattr(ours, method)(**arguments)
        assert_close(getattr(ours, method)(**arguments, project_onto=onto), stack @ onto, 10 * precision(name))
        if method not in ("stack_head_results",):
            alias = getattr(ours, method)(**arguments, project_output_onto=onto)
            assert_close(alias, stack @ onto, 10 * precision(name))


@EXAMPLES
@given(names, batched, positions, st.data())
def test_a_decomposition_by_name_is_its_stack(
    name: str, has_batch_dim: bool, pos_slice: Any, data: st.DataObject
) -> None:
    """With a token, one for each place, or directions of one's own."""
    ours = cache_of(name, has_batch_dim)
    batch_slice = data.draw(slices(PROMPTS)) if has_batch_dim else None
    stacks: dict[str, Any] = {
        "layers": ours.decompose_resid(pos_slice=pos_slice, return_labels=True),
        "heads": ours.stack_head_results(pos_slice=pos_slice, return_labels=True),
    }
    if name not in WITH_EXPERTS:
        stacks["full"] = ours.get_full_resid_decomposition(pos_slice=pos_slice, return_labels=True)
        if name not in ATTENTION_ONLY:
            stacks["neurons"] = ours.stack_neuron_results(-1, pos_slice=pos_slice, return_labels=True)
    places = torch.empty((PROMPTS, POSITIONS) if has_batch_dim else (POSITIONS,))
    places = Slice(pos_slice).apply(places, dim=-1)
    places = Slice(batch_slice).apply(places) if has_batch_dim else places
    each = torch.randint(1, VOCAB, places.shape, generator=torch.Generator().manual_seed(4))
    asked: list[dict[str, Any]] = [
        {"tokens": 5},
        {"tokens": 5, "incorrect_tokens": 17},
        {"tokens": each, "incorrect_tokens": (each + 1) % VOCAB},
        {"project_onto": direction(ours, None, seed=5)},
        {"project_onto": direction(ours, 3, seed=6)},
    ]
    kind = data.draw(st.sampled_from(sorted(stacks)))
    stack, labels = stacks[kind]
    for arguments in asked:
        shared = {**arguments, "pos_slice": pos_slice, "batch_slice": batch_slice}
        values, found = ours.logit_attrs(kind, **shared, return_labels=True)
        assert found == labels
        assert_close(values, ours.logit_attrs(stack, **shared, has_batch_dim=has_batch_dim), 10 * precision(name))


@EXAMPLES
@given(names, batched, st.integers(0, 10**6))
def test_logit_attrs_is_linear(name: str, has_batch_dim: bool, seed: int) -> None:
    ours = cache_of(name, has_batch_dim)
    like = ours.decompose_resid()
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(like.shape, generator=generator, dtype=like.dtype) for _ in range(2))
    right, step = torch.randint(0, VOCAB - 1, (2,), generator=generator).tolist()
    wrong = (right + 1 + step) % VOCAB

    def read(stack: Tensor, *tokens: int) -> Tensor:
        return ours.logit_attrs(stack, *tokens, has_batch_dim=has_batch_dim)

    assert_close(read(2 * x - 3 * y, right), 2 * read(x, right) - 3 * read(y, right))
    assert_close(read(x, right, wrong), read(x, right) - read(x, wrong))
    assert not read(x, right, right).any()
    assert_close(read(x[1:], right), read(x, right)[1:])
