"""Graphs of many tokens and of many prompts: the strongest edges without the rest, batches, the memory budget."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from models import TWO_MODELS, available, boot, demo_run, hugging_face, random_tokens, run, run_on, tiny
from oracles import Frozen, assert_close, graph_edges

from recursive_dla import AttributionGraph, attribution_graph, attribution_graphs
from recursive_dla.attribution.components import component_outputs, head_components
from recursive_dla.attribution.provenance import GraphTarget
from recursive_dla.attribution.targets import direction_target
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.errors import InputError
from recursive_dla.graphs.collectors import Edges, StrongestEdges
from recursive_dla.graphs.memory_budget import GraphLimits, Memory, memory
from recursive_dla.graphs.value_space import ValueSpace, virtual_weights_bytes

ANSWER, WRONG = 5, 17
LONG = 31
NAMES = available(*TWO_MODELS, "gpt-neox", "gemma2", "native-attention-only")


def edges(graph: AttributionGraph) -> dict[tuple[str, str], float]:
    ids = graph.nodes["id"].tolist()
    ends = zip(graph.edge_source, graph.edge_target, graph.edge_weight.tolist(), strict=True)
    return {(ids[source], ids[target]): weight for source, target, weight in ends}


def assert_same(found: AttributionGraph, wanted: AttributionGraph, atol: float = 1e-12) -> None:
    """The same nodes and edges, whatever their order."""
    found_edges, wanted_edges = edges(found), edges(wanted)
    assert found_edges.keys() == wanted_edges.keys()
    assert max(abs(found_edges[ends] - weight) for ends, weight in wanted_edges.items()) <= atol
    columns = [graph.nodes.set_index("id").sort_index() for graph in (found, wanted)]
    pd.testing.assert_frame_equal(*columns, rtol=0, atol=atol)


def unscored(graph: AttributionGraph) -> GraphTarget:
    """What a graph explains, but for the probability, which is rounded otherwise in a batch."""
    return replace(graph.metadata.target, probability=None)


@pytest.mark.parametrize("limits", [{"max_edges": 101}, {"min_share": 0.02}, {"max_edges": 211, "min_share": 0.003}])
@pytest.mark.parametrize("name", NAMES)
def test_the_strongest_edges_are_those_that_pruning_the_complete_graph_leaves(
    name: str, limits: dict[str, Any]
) -> None:
    model = tiny(name)
    cache = run_on(model, random_tokens(positions=LONG)).cache
    complete = attribution_graph(cache, model, ANSWER, wrong_answers=WRONG)
    found = attribution_graph(cache, model, ANSWER, wrong_answers=WRONG, **limits)
    assert_same(found, complete.prune(**limits))
    assert 1 < len(found.edge_weight) < len(complete.edge_weight)
    pruning = found.metadata.pruning
    assert pruning is not None
    assert pruning["edges_before"] == len(complete.edge_weight)
    assert pruning["nodes_before"] == len(complete.nodes)


def test_where_no_edge_is_strong_enough_the_logit_is_left() -> None:
    model, _, _, cache = run("gpt2")
    found = attribution_graph(cache, model, ANSWER, min_share=1e6)
    assert found.nodes["id"].tolist() == ["logit@6"]
    assert found.nodes["rest_in"].tolist() == pytest.approx([found.metadata.value])
    assert found.edge_weight.size == 0


@pytest.mark.demo
def test_the_strongest_edges_of_the_demo() -> None:
    demo = demo_run()
    options: dict[str, Any] = {"wrong_answers": " John"}
    complete = attribution_graph(demo.cache, demo.model, " Mary", **options)
    found = attribution_graph(demo.cache, demo.model, " Mary", max_edges=997, **options)
    assert_same(found, complete.prune(max_edges=997), atol=1e-4)


def least_budget(cache: Any, model: Any, **limits: Any) -> int:
    """The smallest memory budget that a graph is made with, to 64 KiB."""
    with pytest.raises(InputError, match="needs about") as refused:
        attribution_graph(cache, model, ANSWER, memory_budget=1, **limits)
    # What is said is what is needed beside a MiB for the work itself, rounded.
    mebibytes = int(re.search(r"needs about (\d+) MiB", str(refused.value))[1])
    below, enough = 2**20 * mebibytes, 2**20 * (mebibytes + 2)
    while enough - below > 2**16:
        middle = (below + enough) // 2
        try:
            attribution_graph(cache, model, ANSWER, memory_budget=middle, **limits)
            enough = middle
        except InputError:
            below = middle
    return enough


# Of 16 heads, a block has room for one key, and there is none for virtual weights.
@pytest.mark.parametrize("limits", [{}, {"max_edges": 101}], ids=str)
@pytest.mark.parametrize("name", [*NAMES, "gpt2-8-layers"])
def test_graphs_are_the_same_in_as_little_memory_as_can_be(name: str, limits: dict[str, Any]) -> None:
    model = tiny(name)
    cache = run_on(model, random_tokens(positions=17)).cache
    budget = least_budget(cache, model, **limits)
    with pytest.raises(InputError, match="and the memory budget is"):
        attribution_graph(cache, model, ANSWER, memory_budget=budget - 2**16, **limits)
    found = attribution_graph(cache, model, ANSWER, memory_budget=budget, **limits)
    assert_same(found, attribution_graph(cache, model, ANSWER, **limits))


@pytest.mark.parametrize("name", TWO_MODELS)
def test_a_head_that_writes_nothing_has_no_edges_and_the_others_have_theirs(name: str) -> None:
    """Every fan of later layers has a zero in it then."""
    hf = hugging_face(name)
    with torch.no_grad():
        if name == "gpt2":
            hf.transformer.h[0].attn.c_proj.weight[5:10] = 0
        else:
            hf.model.layers[0].self_attn.o_proj.weight[:, 4:8] = 0
    model = boot(hf, name)
    cache = run_on(model, random_tokens(positions=11)).cache
    found = attribution_graph(cache, model, ANSWER, wrong_answers=WRONG)
    assert (found.edge_weight != 0).all()
    names = found.nodes["id"].str.split("@").str[0]
    assert set(names) >= {"L0H0", "L1H0", "L1H1"}
    assert "L0H1" not in set(names)
    assert set(found.edge_source) | set(found.edge_target) == set(range(len(found.nodes)))
    expected = graph_edges(Frozen(model, cache), ANSWER, WRONG, 10)
    assert edges(found).keys() == expected.keys()
    assert_close([edges(found)[ends] for ends in expected], list(expected.values()))


def test_virtual_weights_take_half_of_the_memory_at_most() -> None:
    model = tiny("gpt2-8-layers")
    cache = as_cache(run_on(model, random_tokens(positions=LONG)).cache, model)
    virtual = virtual_weights_bytes(cache.weights, 1, LONG, 8)

    def room(budget: int) -> Memory:
        return memory(cache, 1, LONG, head_components(cache.weights), GraphLimits(101, None, budget))

    # A block is a sixteenth of what is left beside what components wrote and the edges that are kept.
    whole = 2**25
    needed = whole - 16 * room(whole).block_bytes - virtual
    before, after = room(needed + 2 * virtual - 16), room(needed + 2 * virtual + 16)
    assert (before.virtual_weights, after.virtual_weights) == (False, True)
    assert 16 * (before.block_bytes - after.block_bytes) == pytest.approx(virtual, abs=64)


def test_the_memory_of_virtual_weights_is_counted() -> None:
    cache = as_cache(run_on(tiny("gpt-neox"), random_tokens(positions=LONG)).cache, tiny("gpt-neox"))
    weights = cache.weights
    n_heads = weights.n_layers * weights.n_heads
    last = weights.layers[-1].attention.W_V
    virtual = n_heads * weights.d_head * last.shape[0] * last.shape[2]
    # What they are made of and multiplied with: the output weights and z of every head.
    parts = n_heads * weights.d_head * (weights.d_model + LONG)
    assert virtual_weights_bytes(weights, 1, LONG, 8) == 8 * (virtual + parts)
    assert virtual_weights_bytes(weights, 1, 1, 8) == 0


@pytest.mark.parametrize("virtual_weights", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_values_are_the_same_by_either_way(name: str, virtual_weights: bool) -> None:
    """Virtual weights are multiplied with ``z``, so what heads wrote is not looked at; without them, ``z`` is not."""
    model = tiny(name)
    cache = as_cache(run_on(model, random_tokens(2, LONG)).cache, model)
    components = head_components(cache.weights)
    outputs = component_outputs(cache, components).permute(1, 2, 0, 3)
    given = outputs.clone()
    if virtual_weights:
        given[:, :, [component.kind == "head" for component in components.all]] = torch.nan
    else:
        cache = as_cache(
            {key: each * torch.nan if key.endswith("hook_z") else each for key, each in cache.items()}, model
        )
    space = ValueSpace(cache, components, given, virtual_weights)
    for index, layer in enumerate(cache.weights.layers):
        attention = layer.attention
        n_sources = components.before_attention[index]
        for prompt in range(2):
            found = space.of(attention.W_V.mT, n_sources, prompt)(range(5, 23))
            wanted = torch.stack([outputs[prompt, 5:23, :n_sources] @ weight for weight in attention.W_V])
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_its_prompts_give_one_by_one(name: str) -> None:
    model, tokens, _, cache = run(name, prompts=3)
    answers, wrong, last = [5, 7, 11], [17, 2, 5], [6, 3, 5]
    together = attribution_graphs(cache, model, answers, wrong_answers=wrong, pos=last)
    strongest = attribution_graphs(cache, model, answers, wrong_answers=wrong, pos=last, max_edges=37)
    for prompt in range(3):
        alone = run_on(model, tokens[prompt : prompt + 1])
        options: dict[str, Any] = {"wrong_answers": wrong[prompt], "pos": last[prompt]}
        graph = attribution_graph(alone.cache, model, answers[prompt], **options)
        assert_same(together[prompt], graph, atol=1e-9)
        assert_same(strongest[prompt], graph.prune(max_edges=37), atol=1e-9)
        assert unscored(together[prompt]) == unscored(graph)
        assert together[prompt].metadata.target.probability == pytest.approx(graph.metadata.target.probability)
        assert together[prompt].metadata.tokens == graph.metadata.tokens


def test_padding_on_the_right_is_in_no_graph() -> None:
    model = tiny("gpt2")
    tokens = random_tokens(positions=7)
    padded = torch.cat([tokens, torch.zeros_like(tokens[:, :4])], dim=1)
    found = attribution_graphs(run_on(model, padded).cache, model, ANSWER, pos=[6])[0]
    wanted = attribution_graph(run_on(model, tokens).cache, model, ANSWER)
    assert_same(found, wanted, atol=1e-9)


def test_one_answer_for_all_prompts() -> None:
    model, _, _, cache = run("gpt2", prompts=3)
    graphs = attribution_graphs(cache, model, ANSWER)
    assert [unscored(graph) for graph in graphs] == [unscored(graphs[0])] * 3
    assert len({graph.metadata.value for graph in graphs}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answers": [5, 7]}, r"`answers` must have one answer for each of 3 prompts. Got 2"),
        ({"answers": 5, "wrong_answers": [1]}, r"`wrong_answers` must have one answer for each of 3 prompts. Got 1"),
        ({"answers": 5, "max_edges": 0}, r"`max_edges` must be at least 1. Got 0"),
        ({"answers": 5, "min_share": -0.1}, r"`min_share` must be at least 0, and finite. Got -0.1"),
        ({"answers": 5, "rule": "lrp"}, "Unknown rule 'lrp'"),
        (
            {"answers": 5, "memory_budget": 2**20},
            r"complete graph of 7 tokens has about [0-9,]+ edges; it needs about \d+ MiB beside the cache, and the"
            r" memory budget is 1 MiB. Give `max_edges` \(20,000, say\), or raise `memory_budget`",
        ),
        (
            {"answers": 5, "memory_budget": 2**20, "max_edges": 100},
            r"The graph of 7 tokens needs about .* Shorten the prompt, or raise `memory_budget`",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_first(options: dict[str, Any], message: str) -> None:
    model, _, _, cache = run("gpt2", prompts=3)
    with pytest.raises(InputError, match=message):
        attribution_graphs(cache, model, **options)


def test_more_edges_than_there_are_can_be_asked_for() -> None:
    model, _, _, cache = run("gpt2")
    found = attribution_graph(cache, model, ANSWER, max_edges=10**9)
    assert_same(found, attribution_graph(cache, model, ANSWER).prune(max_edges=10**9))


def test_a_share_that_lets_too_many_edges_through_is_refused_before_memory_is_full() -> None:
    model = tiny("gpt2")
    cache = run_on(model, random_tokens(2, LONG)).cache
    options: dict[str, Any] = {"memory_budget": 2**20 + 2**18}
    with pytest.raises(InputError, match=r"More than [0-9,]+ edges have `min_share` .* Raise `min_share`, give"):
        attribution_graphs(cache, model, ANSWER, min_share=0.0, **options)
    assert all(len(graph.edge_weight) for graph in attribution_graphs(cache, model, ANSWER, min_share=0.1, **options))


@pytest.mark.parametrize("scale", [1e-25, 1e25], ids=str)
def test_numbers_whose_squares_leave_float32_lose_no_edge(scale: float) -> None:
    model, _, _, cache = run("gpt2", torch.float32)
    direction = torch.randn(10, generator=torch.Generator().manual_seed(0))
    targets = [direction_target(as_cache(cache, model), direction * size) for size in (1, scale)]
    for limits in ({}, {"max_edges": 37}):
        wanted, found = (attribution_graph(cache, model, target, **limits) for target in targets)
        rescaled = replace(found, edge_weight=found.edge_weight / scale)
        assert edges(rescaled) == pytest.approx(edges(wanted), rel=1e-3, abs=1e-4)


def test_of_equal_edges_the_earlier_are_kept() -> None:
    weight = np.array([1.0, -2.0, 3.0, 2.0, -2.0, 0.5, 2.0, 3.0])
    collector = StrongestEdges(n_pos=1, max_edges=4, min_weight=0.0)
    for numbers in np.arange(8).reshape(4, 2):
        collector.add(Edges(numbers, np.full(2, 8), weight[numbers]))
    used, found = collector.finished(9, 8)
    assert used[found.source].tolist() == [1, 2, 3, 7]
    assert found.weight.tolist() == [-2.0, 3.0, 2.0, 3.0]


def test_the_floor_rises_to_the_weakest_that_is_kept() -> None:
    collector = StrongestEdges(n_pos=1, max_edges=2, min_weight=0.25)
    assert 0.249 < collector.floor() < 0.25
    numbers = np.arange(16)
    collector.add(Edges(numbers, numbers, np.linspace(0.1, 1.6, 16)))
    assert collector.floor() == pytest.approx(1.5)
