"""The demo model: figures that were computed once and have to stay."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from models import demo_run
from oracles import assert_close

from recursive_dla import AttributionGraph, attribution_graph, break_down, check
from recursive_dla.cache.activation_cache import as_cache

pytestmark = pytest.mark.demo

DTYPES = [torch.float32, pytest.param(torch.float64, marks=pytest.mark.thorough)]
RELATIVE = {torch.float32: 1e-4, torch.float64: 1e-9}
DIFFERENCE = 5.576
HEADS = {"L23H3": 2.078, "L29H1": 2.008, "L23H1": 0.976, "L23H7": 0.926, "L23H2": 0.863}


@cache
def graph(dtype: torch.dtype) -> AttributionGraph:
    model, _, _, activations = demo_run(dtype)
    return attribution_graph(activations, model, " Mary", wrong_answers=" John")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_cache_passes_the_checks(dtype: torch.dtype) -> None:
    model, _, _, activations = demo_run(dtype)
    report = check(as_cache(activations, model))
    assert max(identity.error for identity in report.identities) < RELATIVE[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_heads(dtype: torch.dtype) -> None:
    model, tokens, logits, activations = demo_run(dtype)
    found = break_down(activations, model, " Mary", wrong_answers=" John")
    mary, john = found.target.answers[0, 0], found.target.wrong_answers[0, 0]
    assert float(found.target.value) == pytest.approx(DIFFERENCE, abs=5e-4)
    assert_close(found.target.value, (logits[:, -1, mary] - logits[:, -1, john])[:, None], RELATIVE[dtype])

    values, places = (part.tolist() for part in found.totals[0, 0].flatten().topk(len(HEADS)))
    heads = {f"L{place // 9}H{place % 9}": value for value, place in zip(values, places, strict=True)}
    assert list(heads) == list(HEADS)
    assert heads == pytest.approx(HEADS, abs=5e-4)

    reads = found.values[0, 0, 23, 3]
    source = found.axes["src_comp"].index("0_mlp_out")
    assert float(reads[10, source]) == pytest.approx(1.654, abs=5e-4)
    assert int(reads.argmax()) == 10 * len(found.axes["src_comp"]) + source
    assert model.tokenizer.decode(tokens[0, 10]) == " John"

    assert found.constants == {}
    assert_close(found.values.sum((4, 5)), found.totals, RELATIVE[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_mlps(dtype: torch.dtype) -> None:
    model, _, _, activations = demo_run(dtype)
    for rule in ("ratio", "frozen-gate", "integrated-gradients"):
        found = break_down(activations, model, " Mary", "mlps", wrong_answers=" John", rule=rule)
        assert found.constants == {}
        assert_close(found.values.sum(3), found.totals, RELATIVE[dtype])
    heads = break_down(activations, model, " Mary", wrong_answers=" John")
    embed = as_cache(activations, model).logit_attrs(activations["embed"][None], " Mary", " John")[0, 0, -1]
    total = heads.totals.sum() + found.totals.sum() + embed
    assert_close(total.reshape(1, 1), heads.target.value, RELATIVE[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_complete_graph(dtype: torch.dtype) -> None:
    found = graph(dtype)
    nodes = found.nodes
    assert found.metadata.value == pytest.approx(DIFFERENCE, abs=5e-4)
    attribution, kind = nodes["attribution"].to_numpy(float), nodes["kind"].to_numpy()
    weight = found.edge_weight.astype(float)
    into = np.bincount(found.edge_target, weights=weight, minlength=len(nodes))
    out = np.bincount(found.edge_source, weights=weight, minlength=len(nodes))
    assert set(kind) == {"embed", "head", "mlp", "logit"}
    assert_close(into[kind != "embed"], attribution[kind != "embed"], RELATIVE[dtype])
    assert_close(out[kind != "logit"], attribution[kind != "logit"], RELATIVE[dtype])
    assert_close(attribution[kind == "embed"].sum()[None], [found.metadata.value], RELATIVE[dtype])

    to_logit = found.edge_target == np.flatnonzero(kind == "logit")[0]
    direct = dict(zip(nodes["id"].to_numpy()[found.edge_source[to_logit]], weight[to_logit], strict=True))
    assert {head: direct[f"{head}@14"] for head in HEADS} == pytest.approx(HEADS, abs=5e-4)


@pytest.mark.thorough
def test_float32_is_float64_rounded() -> None:
    narrow, wide = (graph(dtype).nodes.set_index("id")["attribution"] for dtype in (torch.float32, torch.float64))
    assert list(narrow.index) == list(wide.index)
    assert_close(narrow.to_numpy(), wide.to_numpy(), 1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_within_two_hundredths_of_what_is_explained(dtype: torch.dtype) -> None:
    """The model's own rounding, all of it: see docs/architectures.md."""
    model, _, _, activations = demo_run(dtype)
    half = break_down(activations, model, " Mary", wrong_answers=" John")
    wide = break_down(demo_run().cache, demo_run().model, " Mary", wrong_answers=" John")
    assert half.values.dtype == torch.float32
    for found, expected in ((half.totals, wide.totals), (half.values, wide.values)):
        assert (found - expected).abs().max() < 0.01 * DIFFERENCE
    nodes, precise = (
        each.nodes.set_index("id")["attribution"].astype(float) for each in (graph(dtype), graph(torch.float32))
    )
    # Along all paths, rounding adds up, and processors round products of bfloat16 differently.
    assert float((nodes - precise).abs().max()) < 0.02 * DIFFERENCE
    assert graph(dtype).metadata.completeness_error < 0.01
    assert float(half.target.value) == pytest.approx(DIFFERENCE, rel=0.01)
