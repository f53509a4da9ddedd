"""Parts of a graph: a network computed by hand, naive matrices, and sums that hold whatever is cut or grouped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flows import assert_flows, at_random, by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from models import demo_run
from typer.testing import CliRunner

from recursive_dla import AttributionGraph, attribution_graph
from recursive_dla.cli import app
from recursive_dla.errors import InputError

# Twelve nodes; the comments give each node's influence.
EDGES = {
    ("L2H0@4", "logit@4"): 4.0,  # 1/2
    ("L1MLP@4", "logit@4"): -2.0,  # 1/4
    ("L1H1@4", "logit@4"): 1.0,  # 1/8
    ("embed@4", "logit@4"): 1.0,  # 1/8 + L0MLP@4 = 1/4
    ("L1H0@4", "L2H0@4"): 6.0,  # 1/2 · 3/4 + 1/4 · 1/2 = 1/2
    ("L0MLP@4", "L2H0@4"): -2.0,  # 1/2 · 1/4 = 1/8
    ("L1H0@4", "L1MLP@4"): -1.0,
    ("L0.b@4", "L1MLP@4"): -1.0,  # 1/4 · 1/2 = 1/8
    ("L0MLP@2", "L1H1@4"): 1.0,  # 1/8 + 1/2 · 4/5 = 21/40
    ("L0MLP@2", "L1H0@4"): 4.0,
    ("L0H0@2", "L1H0@4"): 1.0,  # 1/2 · 1/5 + 21/40 · 1/5 = 0.205
    ("embed@4", "L0MLP@4"): -2.0,
    ("embed@2", "L0MLP@2"): 4.0,  # 21/40 · 4/5 + 0.205 · 1/4 = 0.47125
    ("L0H0@2", "L0MLP@2"): 1.0,
    ("embed@1", "L0H0@2"): 3.0,  # 0.205 · 3/4 = 0.15375
    ("embed@2", "L0H0@2"): -1.0,
}
INFLUENCE = {
    "logit@4": 1.0, "L2H0@4": 0.5, "L1MLP@4": 0.25, "L1H1@4": 0.125, "embed@4": 0.25, "L1H0@4": 0.5,
    "L0MLP@4": 0.125, "L0.b@4": 0.125, "L0MLP@2": 0.525, "L0H0@2": 0.205, "embed@2": 0.47125, "embed@1": 0.15375,
}  # fmt: skip
# The nodes of 0.8 of the sum of 3.23, cumulatively: those with 0.205 and more, and the embeddings.
STRONG = set(INFLUENCE) - {"L1H1@4", "L0MLP@4", "L0.b@4"}
# Of the 0.8 of their edges' 3.7086, the weakest has 0.2314; then L0H0@2 leads nowhere.
STRONGEST = {
    ("L2H0@4", "logit@4"), ("L1MLP@4", "logit@4"), ("L1H0@4", "L2H0@4"), ("L1H0@4", "L1MLP@4"),
    ("L0MLP@2", "L1H0@4"), ("embed@2", "L0MLP@2"),
}  # fmt: skip


def edges(graph: AttributionGraph) -> dict[tuple[str, str], float]:
    ids = graph.nodes["id"].tolist()
    ends = zip(graph.edge_source, graph.edge_target, graph.edge_weight.tolist(), strict=True)
    return {(ids[source], ids[target]): weight for source, target, weight in ends}


def measures(graph: AttributionGraph) -> tuple[float, float]:
    assert graph.metadata.pruning is not None
    return graph.metadata.pruning["logit_kept"], graph.metadata.pruning["influence_kept"]


def same(one: AttributionGraph, other: AttributionGraph) -> bool:
    return one.nodes.equals(other.nodes) and edges(one) == edges(other) and one.metadata == other.metadata


# --- influence -------------------------------------------------------------------------------------------------------


def test_influence_by_hand() -> None:
    graph = by_hand(EDGES)
    assert_flows(graph)
    assert graph.metadata.value == 4
    assert graph.influence().to_dict() == pytest.approx(INFLUENCE, rel=1e-12)


def test_pruning_by_influence_by_hand() -> None:
    graph = by_hand(EDGES)
    nodes = graph.prune(node_influence=0.8)
    assert_flows(nodes)
    assert set(nodes.nodes["id"]) == STRONG
    assert edges(nodes) == {ends: weight for ends, weight in EDGES.items() if set(ends) <= STRONG}
    both = graph.prune(node_influence=0.8, edge_influence=0.8)
    assert_flows(both)
    assert edges(both) == {ends: EDGES[ends] for ends in STRONGEST}
    assert set(both.nodes["id"]) == {end for ends in STRONGEST for end in ends}
    # 1/2 · 3/4 · 4/5 · 4/5 through L2H0 and 1/4 · 1/2 · 4/5 · 4/5 through L1MLP.
    assert measures(both) == pytest.approx((4 * 0.48 - 2 * 0.32, 0.24 + 0.08), rel=1e-12)
    # What leads nowhere is not counted among the strongest: embed@1 → L0H0@2 has 3.
    five = graph.prune(node_influence=0.8, edge_influence=0.8, max_edges=5)
    assert set(edges(five)) == STRONGEST - {("L1H0@4", "L1MLP@4")}
    rests = both.nodes.set_index("id")[["rest_in", "rest_out"]]
    assert rests.loc["logit@4"].tolist() == [2, 0]
    assert rests.loc["L0MLP@2"].tolist() == [1, 1]
    assert rests.loc["embed@2"].tolist() == [0, -1]


def test_what_is_cut_cancels_in_the_logit_but_not_in_the_influence() -> None:
    graph = by_hand(EDGES).drop(ids=["L1MLP@4", "L1H1@4", "embed@4"])
    assert_flows(graph)
    # −2 + 1 + 1 is missing from the logit, half of its inputs by absolute weight; of L2H0's inputs a quarter is.
    assert graph.nodes.set_index("id").loc["logit@4", "rest_in"] == 0
    assert measures(graph) == pytest.approx((4 * 0.75, 0.5 * 0.75), rel=1e-12)


def test_what_was_cut_before_counts_as_lost() -> None:
    graph = by_hand(EDGES).drop(ids="L1H1@4")
    assert measures(graph) == pytest.approx((3, 7 / 8), rel=1e-12)
    assert measures(graph.prune(min_share=0.0)) == pytest.approx((3, 7 / 8), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_steps_at_once_are_steps_in_order(seed: int) -> None:
    graph = at_random(seed)
    once = graph.prune(node_influence=0.95, edge_influence=0.9, min_share=0.01, max_edges=40)
    steps = graph.prune(node_influence=0.95, edge_influence=0.9).prune(min_share=0.01, max_edges=40)
    assert edges(once) == edges(steps)
    assert len(graph.prune(node_influence=0.95, edge_influence=0.9).edge_weight) > len(once.edge_weight) > 0


def test_a_share_of_one_keeps_everything() -> None:
    graph = by_hand(EDGES)
    for whole in (graph.prune(node_influence=1.0, edge_influence=1.0), graph.prune(min_share=0.0)):
        assert edges(whole) == EDGES
        assert measures(whole) == pytest.approx((4, 1), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_influence_is_the_neumann_series(seed: int) -> None:
    graph = at_random(seed)
    shares, root = dense(graph)
    expected = np.linalg.inv(np.eye(len(shares)) - shares)[root]
    assert graph.influence().to_numpy() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert graph.influence()[graph.is_leaf].sum() == pytest.approx(1)


def dense(graph: AttributionGraph, kept: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    matrix = np.zeros((len(graph.nodes),) * 2)
    matrix[graph.edge_target, graph.edge_source] = np.abs(graph.edge_weight)
    if kept is not None:
        matrix[~kept] = 0
        matrix[:, ~kept] = 0
    sums = matrix.sum(1, keepdims=True)
    return matrix / np.where(sums > 0, sums, 1), graph.nodes["kind"].tolist().index("logit")


@pytest.mark.parametrize("shares", [(0.8, 0.98), (0.5, 0.9), (0.95, 0.5), (0.3, 0.7)])
@pytest.mark.parametrize("seed", range(4))
def test_pruning_by_influence_against_naive_matrices(seed: int, shares: tuple[float, float]) -> None:
    """The published procedure, with matrices and until nothing changes."""
    graph = at_random(seed)
    matrix, root = dense(graph)
    score = (np.linalg.inv(np.eye(len(matrix)) - matrix) - np.eye(len(matrix)))[root]
    kept = score >= weakest(score, shares[0])
    kept |= graph.nodes["kind"].isin(["embed", "logit"]).to_numpy()
    matrix, _ = dense(graph, kept)
    scores = matrix * np.linalg.inv(np.eye(len(matrix)) - matrix)[root][:, None]
    left = (scores >= weakest(scores[scores > 0], shares[1])) & (scores > 0)
    before = -1
    while before != (before := left.sum()):
        left[:, ~graph.is_leaf & ~left.any(1)] = False
        left[~left.any(0) & (np.arange(len(left)) != root)] = False
    ids = graph.nodes["id"].to_numpy()
    found = graph.prune(node_influence=shares[0], edge_influence=shares[1])
    assert set(edges(found)) == {(ids[source], ids[target]) for target, source in zip(*left.nonzero(), strict=True)}
    assert found.prune(min_share=0.0).nodes["id"].tolist() == found.nodes["id"].tolist()
    assert_flows(found)


def weakest(scores: np.ndarray, share: float) -> float:
    held = 0.0
    for score in sorted(scores, reverse=True):
        held += score
        if held >= share * scores.sum():
            return score
    raise AssertionError


@pytest.mark.parametrize("seed", range(3))
def test_measures_against_recursion(seed: int) -> None:
    complete = at_random(seed)
    graph = complete.prune(max_edges=150)
    inputs: dict[str, float] = {}
    for (_, target), weight in edges(complete).items():
        inputs[target] = inputs.get(target, 0) + abs(weight)
    kept = edges(graph)
    rest = dict(zip(graph.nodes["id"], graph.nodes["rest_in"].abs(), strict=True))
    leaf = dict(zip(graph.nodes["id"], graph.is_leaf, strict=True))

    def traced(node: str, net: bool) -> float:
        if leaf[node]:
            return 1.0
        own = {source: abs(weight) for (source, target), weight in kept.items() if target == node}
        whole = sum(own.values()) + rest[node] if net else inputs[node]
        return sum(size * traced(source, net) for source, size in own.items()) / whole if own else 0.0

    into_logit = {source: weight for (source, target), weight in kept.items() if target == "logit@4"}
    expected = sum(weight * traced(source, net=True) for source, weight in into_logit.items())
    assert measures(graph) == pytest.approx((expected, traced("logit@4", net=False)), rel=1e-9)


# --- selecting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ({"kinds": "mlp"}, {"L1MLP@4", "L0MLP@2", "L0MLP@4"}),
        ({"kinds": ["mlp", "bias"], "layers": 0}, {"L0MLP@2", "L0MLP@4", "L0.b@4"}),
        ({"layers": range(1, 3), "positions": -1}, {"L2H0@4", "L1MLP@4", "L1H1@4", "L1H0@4"}),
        ({"layers": -1, "positions": (3,)}, {"embed@1", "embed@2"}),
        ({"positions": [1, 2]}, {"L0MLP@2", "L0H0@2", "embed@2", "embed@1"}),
        ({"ids": ["L0MLP", "embed@4"]}, {"L0MLP@2", "L0MLP@4", "embed@4"}),
        ({"ids": "logit@4"}, set()),
    ],
)
def test_selecting_and_dropping(given: dict[str, Any], ids: set[str]) -> None:
    graph = by_hand(EDGES)
    selected, dropped = graph.select(**given), graph.drop(**given)
    for found, expected in ((selected, ids | {"logit@4"}), (dropped, set(INFLUENCE) - ids | {"logit@4"})):
        assert_flows(found)
        assert set(found.nodes["id"]) == expected
        assert edges(found) == {ends: weight for ends, weight in EDGES.items() if set(ends) <= expected}


def test_what_was_asked_for_is_recorded_in_order() -> None:
    graph = by_hand(EDGES).drop(kinds="bias").drop(positions=-5).select(layers=range(-1, 2)).prune(max_edges=5)
    pruning = dict(graph.metadata.pruning or {})
    del pruning["logit_kept"], pruning["influence_kept"]
    assert pruning == {
        "nodes_before": 12,
        "edges_before": 16,
        "drop": [{"kinds": ["bias"]}, {"positions": [0]}],
        "select": [{"layers": [-1, 0, 1]}],
        "max_edges": 5,
    }
    text = str(by_hand(EDGES).prune(node_influence=0.8, edge_influence=0.8))
    assert "pruned from 12 nodes and 16 edges; +1.2800 of +4.0000 logits and 32.0% of the influence come from" in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing says which nodes"),
        ({"kinds": "heads"}, "no nodes of kind 'heads'. Its kinds are head, logit, mlp"),
        ({"layers": 6}, "Layers go from 0 to 4; embeddings are at -1, the logit at 5. Got 6"),
        ({"layers": [-2]}, "Got -2"),
        ({"positions": [5]}, "out of range"),
        ({"ids": "L0H0@3"}, r"The graph has no node 'L0H0@3'. Did you mean 'L0H0@2'"),
        ({"ids": ["L0H0@2", "nothing like it"]}, "no node 'nothing like it'. `graph.nodes` lists all"),
    ],
)
def test_what_cannot_be_selected_is_refused(given: dict[str, Any], message: str) -> None:
    for call in (by_hand(EDGES).select, by_hand(EDGES).drop):
        with pytest.raises(InputError, match=message):
            call(**given)


@pytest.mark.parametrize("name", ["node_influence", "edge_influence"])
@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_shares_out_of_range_are_refused(name: str, share: float) -> None:
    with pytest.raises(InputError, match=f"`{name}` is a share, above 0 and at most 1"):
        by_hand(EDGES).prune(**{name: share})


def test_edges_in_a_circle_are_refused() -> None:
    graph = by_hand({**EDGES, ("L2H0@4", "L1H0@4"): 1.0})
    with pytest.raises(InputError, match=r"edges lead in a circle at 'L[12]"):
        graph.influence()
    nodes = by_hand(EDGES).nodes.assign(kind="mlp")
    with pytest.raises(InputError, match="0 nodes of kind 'logit', where there must be one"):
        replace(by_hand(EDGES), nodes=nodes).influence()


# --- whatever is done ------------------------------------------------------------------------------------------------

SHARES = st.floats(0.05, 1)
STEPS = st.one_of(
    st.tuples(st.just("prune"), st.fixed_dictionaries({"max_edges": st.integers(1, 400)})),
    st.tuples(st.just("prune"), st.fixed_dictionaries({"min_share": st.floats(0, 0.3)})),
    st.tuples(
        st.just("prune"),
        st.fixed_dictionaries(
            {"node_influence": SHARES}, optional={"edge_influence": SHARES, "max_edges": st.just(90)}
        ),
    ),
    st.tuples(st.just("prune"), st.fixed_dictionaries({"edge_influence": SHARES})),
    st.tuples(st.just("select"), st.fixed_dictionaries({"layers": st.sets(st.integers(-1, 5), min_size=3)})),
    st.tuples(st.just("drop"), st.fixed_dictionaries({"positions": st.integers(0, 4)})),
    st.tuples(
        st.just("drop"),
        st.fixed_dictionaries({"layers": st.integers(0, 4), "positions": st.sampled_from([1, 4, slice(2, None)])}),
    ),
    st.tuples(st.just("group"), st.fixed_dictionaries({"by": st.sampled_from(["layer", "word", "position"])})),
)


@given(st.integers(0, 9), st.lists(STEPS, min_size=1, max_size=5))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_sums_hold_after_any_steps(seed: int, steps: list[tuple[str, dict[str, Any]]]) -> None:
    graph = again = at_random(seed)
    members = dict(zip(graph.nodes["id"], graph.nodes["attribution"], strict=True))
    for place, (name, arguments) in enumerate(steps):
        graph, again = getattr(graph, name)(**arguments), getattr(again, name)(**arguments)
        assert_flows(graph)
        assert same(graph, again)
        assert graph.nodes["id"].is_unique
        assert set(graph.metadata.groups) <= set(graph.nodes["id"])
        assert set(graph.metadata.groups) == set(graph.nodes.loc[graph.nodes["kind"] == "group", "id"])
        held = [member for group in graph.metadata.groups.values() for member in group]
        assert len({member.id for member in held}) == len(held)
        assert all(members[member.id] == member.attribution for member in held)
        cut = {step for step, _ in steps[: place + 1]} - {"group"}
        assert (graph.metadata.pruning is not None) == bool(cut)
        assert 0 <= (graph.metadata.pruning or {"influence_kept": 1})["influence_kept"] <= 1
        logit = graph.nodes.set_index("id").loc["logit@4"]
        assert logit["attribution"] == pytest.approx(graph.metadata.value, rel=1e-9)


# --- the demo model --------------------------------------------------------------------------------------------------


@pytest.mark.demo
def test_the_strongest_influence_of_the_demo_model() -> None:
    model, _, _, cache = demo_run()
    graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
    score = graph.influence()
    assert score[graph.is_leaf].sum() == pytest.approx(1, rel=1e-9)
    assert score.drop("logit@14").nlargest(3).index.tolist() == ["embed@0", "L0MLP@0", "L1MLP@0"]
    pruned = graph.prune(node_influence=0.8, edge_influence=0.98)
    assert_flows(pruned, 1e-5)
    assert (len(pruned.nodes), len(pruned.edge_weight)) == (563, pytest.approx(22_170, abs=20))
    assert measures(pruned) == pytest.approx((4.607, 0.308), abs=2e-3)
    layers = pruned.group("layer")
    assert_flows(layers, 1e-5)
    assert layers.nodes.set_index("id").loc["L23.heads@14", "attribution"] == pytest.approx(6.558, abs=2e-3)


@pytest.mark.demo
def test_tracing_prunes_and_says_what_is_left(types_unchecked: None, tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    prompt = "When John and Mary went to the store, John gave a drink to"
    arguments = ["trace", prompt, "--answer", " Mary", "--wrong", " John", "--node-influence", "0.5", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--max-edges", "400", "--out", str(path)])
    document = json.loads(done.stdout)
    written = AttributionGraph.load(path)
    assert document["pruned"] == {
        "nodes": len(written.nodes), "edges": len(written.edge_weight), **(written.metadata.pruning or {})
    }  # fmt: skip
    assert (document["pruned"]["node_influence"], document["pruned"]["max_edges"]) == (0.5, 400)
    assert document["metadata"]["pruning"] is None
    assert len(written.edge_weight) <= 400


def test_tracing_refuses_shares_before_it_loads_a_model(types_unchecked: None) -> None:
    done = CliRunner().invoke(app, ["trace", "a", "--answer", "b", "--model", "/nowhere", "--edge-influence", "0"])
    assert isinstance(done.exception, InputError)
    assert "`edge_influence` is a share, above 0" in str(done.exception)
