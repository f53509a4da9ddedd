"""Trees: every path's weight, the sums of every level, and a search that does not depend on how it is carried out."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import networkx as nx
import numpy as np
import pytest
import torch
from models import (
    EVERY_MODEL,
    GATED,
    MODELS,
    POSITIONS,
    PROMPTS,
    TWO_MODELS,
    WITH_EXPERTS,
    WITH_MLP,
    available,
    matrix,
    precision,
    run,
    tiny,
)
from oracles import Frozen, assert_close, node_name, path_weights

from recursive_dla import AttributionTree, attribution_graph, attribution_tree, strongest_paths
from recursive_dla.attribution.targets import direction_target, log_prob_target
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.errors import CacheError, InputError
from recursive_dla.figures import tree_figure, tree_frame
from recursive_dla.output.files.schema import schema
from recursive_dla.output.files.tree_json import tree_document
from recursive_dla.trees.expansion import Expander

ANSWER, WRONG = 5, 17
RULES = ("ratio", "frozen-gate", "integrated-gradients", "gradient", "stop")


def tree(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> AttributionTree:
    model, _, _, cache = run(name, dtype)
    return attribution_tree(cache, model, ANSWER, **{"wrong_answers": WRONG, **options})


def assert_adds_up(found: AttributionTree, relative: float) -> None:
    """Every expanded node against the sum of its children, in a plain loop."""
    sums: dict[int, float] = defaultdict(float)
    rows = found.nodes.to_dict("records")
    for row in rows[1:]:
        sums[row["parent"]] += row["weight"]
    expanded = [number for number, row in enumerate(rows) if row["expanded"]]
    assert set(sums) == set(expanded)
    largest = max(abs(row["weight"]) for row in rows)
    assert expanded
    for number in expanded:
        assert abs(sums[number] - rows[number]["weight"]) <= relative * largest
    assert found.completeness_error <= relative


# --- every number ----------------------------------------------------------------------------------------------------


def oracle_paths(found: AttributionTree, frozen: Frozen) -> tuple[list[float], list[tuple[tuple[str, int], ...]]]:
    """The weights of all nodes but the root and the rests, and the paths to them as the oracle names their parts."""
    labels = {node_name(label): label for label in frozen.components(split_heads=found.metadata.unit != "layers")}
    labels |= {f"L{layer}Attn": f"{layer}_attn_out" for layer in range(frozen.n_layers)}
    rows = found.nodes.to_dict("records")

    def part(row: dict[str, Any]) -> tuple[str, int]:
        name = row["id"].split("@")[0]
        if neuron := re.fullmatch(r"L(\d+)(?:E(\d+))?N(\d+)", name):
            layer, bank, index = neuron.groups()
            name = f"{layer}_N{bank or 0}.{index}"
        return labels.get(name, name), row["pos"]

    weights, paths = [], []
    for row in rows[1:]:
        if row["kind"] == "rest" or row["id"].split("@")[0] in ("b_U", "ln_final.b"):
            continue
        chain = [row]
        while chain[-1]["parent"] >= 0:
            chain.append(rows[chain[-1]["parent"]])
        chain.reverse()
        # From an MLP to one of its neurons nothing is pulled back.
        kept = [
            each
            for each, after in zip(chain, [*chain[1:], chain[-1]], strict=True)
            if not (each["kind"] == "mlp" and after["kind"] == "neuron")
        ]
        weights.append(row["weight"])
        paths.append(tuple(map(part, kept)))
    return weights, paths


SOME = ("gpt2", "llama-biased", "gpt-neox", "native-attention-only", *available("gemma2", "qwen2-moe"))


@pytest.mark.parametrize(
    ("name", "unit"),
    matrix(
        (name, unit)
        for name in EVERY_MODEL
        for unit in ("heads", "layers", "neurons")
        if unit == "heads" or name in SOME
    ),
)
def test_every_weight_is_the_product_of_the_maps_along_its_path(name: str, unit: str) -> None:
    found = tree(name, unit=unit, depth=4, top_k=4, min_share=0.0, max_nodes=83)
    frozen = Frozen(tiny(name), run(name).cache)
    weights, paths = oracle_paths(found, frozen)
    assert max(map(len, paths)) >= 4
    assert_close(weights, path_weights(frozen, frozen.direction(ANSWER, WRONG), paths), precision(name))
    if unit != "layers":
        assert (unit == "neurons" and name in WITH_MLP) == ("neuron" in set(found.nodes["kind"]))
    assert_adds_up(found, precision(name))


@pytest.mark.parametrize("unit", ["heads", "neurons"])
@pytest.mark.parametrize("rule", RULES[1:])
@pytest.mark.parametrize("name", [*TWO_MODELS, *available(*WITH_EXPERTS[:1])])
def test_every_weight_under_other_rules(name: str, rule: str, unit: str) -> None:
    options = {"unit": unit, "rule": rule, "depth": 4, "top_k": 3, "min_share": 0.0, "max_nodes": 61}
    if rule == "frozen-gate" and name not in GATED:
        with pytest.raises(InputError, match="needs a gated MLP"):
            tree(name, **options)
        return
    found = tree(name, **options)
    frozen = Frozen(tiny(name), run(name).cache, rule=rule)
    weights, paths = oracle_paths(found, frozen)
    assert_close(weights, path_weights(frozen, frozen.direction(ANSWER, WRONG), paths), precision(name))
    assert_adds_up(found, precision(name))
    assert ("remainder" in set(found.nodes["kind"])) == (rule in ("gradient", "stop"))


@pytest.mark.parametrize("name", ["gpt2", "llama-biased", "gpt-neox", "native-attention-only", *available("gemma2")])
def test_all_paths_through_an_edge_sum_to_the_edge_of_the_graph(name: str) -> None:
    model, _, _, cache = run(name)
    options = {"wrong_answers": WRONG, "pos": 2}
    graph = attribution_graph(cache, model, ANSWER, **options)
    found = attribution_tree(
        cache, model, ANSWER, **options, depth=None, top_k=None, min_share=0.0, max_nodes=None, max_seconds=600.0
    )
    assert found.ended == "complete"
    ids, parents = found.nodes["id"].tolist(), found.nodes["parent"].tolist()
    flow: dict[tuple[str, str], float] = defaultdict(float)
    for child, parent, weight in zip(ids[1:], parents[1:], found.nodes["weight"].tolist()[1:], strict=True):
        flow[child, ids[parent]] += weight
    expected = dict(zip(zip(graph.edges["source"], graph.edges["target"], strict=True), graph.edge_weight, strict=True))
    assert set(flow) == set(expected)
    assert_close([flow[ends] for ends in expected], [float(weight) for weight in expected.values()])
    assert "rest" not in ids
    # So do the ends of all paths.
    paths = found.paths(None)
    assert (paths.weaker, paths.unexplored, paths.strongest_unexplored) == (0, 0, 0)
    assert paths.explained == pytest.approx(graph.metadata.value, rel=1e-9)
    leaves = graph.nodes[graph.nodes["id"].isin(paths.table["leaf"])]
    sums = paths.table.groupby("leaf")["weight"].sum()
    assert_close(sums[leaves["id"]].tolist(), leaves["attribution"].tolist(), 1e-9)


@pytest.mark.parametrize("unit", ["heads", "neurons"])
@pytest.mark.parametrize("name", matrix([*MODELS, *available("gpt-neox", "gemma2", "mixtral")]))
def test_starting_at_a_component_explains_its_gradient_times_its_output(name: str, unit: str) -> None:
    """Of the model with patterns, norm scales and neuron slopes frozen, by autograd."""
    frozen = Frozen(tiny(name), run(name).cache)
    logit, written = frozen.forward(frozen.direction(ANSWER, WRONG), POSITIONS - 1)
    logit.backward()
    found, expected = [], []
    for label in ("L0H1", "L1H0", *(("0_mlp_out", "1_mlp_out") if name in WITH_MLP else ())):
        # Only the last position is read after the last layer.
        for pos in (4, -1) if label.lstrip("L").startswith("0") else (-1,):
            start = f"{node_name(label)}@{pos}"
            from_here = tree(name, start=start, unit=unit, depth=2, top_k=3)
            assert_adds_up(from_here, precision(name))
            root = from_here.nodes.iloc[0]
            assert (root["id"], root["share"]) == (f"{node_name(label)}@{pos % POSITIONS}", 1.0)
            found.append(root["weight"])
            expected.append(float((written[label].grad * written[label].detach())[pos].sum()))
    assert_close(found, expected, precision(name))


@pytest.mark.parametrize("name", ["gpt2", "llama-biased", *available("gemma2", "qwen2-moe")])
def test_starting_at_a_neuron_explains_its_share_of_the_mlp(name: str) -> None:
    whole = tree(name, start="L1MLP@6", unit="neurons", depth=2, top_k=5, min_share=0.0)
    neurons = whole.children(0)[lambda rows: rows["kind"] == "neuron"]
    assert len(neurons) == 5
    for row, node in neurons.iterrows():
        alone = tree(name, start=node["id"], depth=1, top_k=5, min_share=0.0)
        assert alone.nodes["weight"][0] == pytest.approx(node["weight"], rel=1e-6)
        mine, theirs = alone.children(0), whole.children(row)
        assert mine["id"].tolist() == theirs["id"].tolist()
        assert_close(mine["weight"].tolist(), theirs["weight"].tolist(), 1e-6)


@pytest.mark.parametrize("name", TWO_MODELS)
def test_a_layers_attention_is_its_heads_and_its_bias(name: str) -> None:
    layers = tree(name, unit="layers", depth=1, top_k=None, min_share=0.0).nodes.set_index("id")["weight"]
    heads = tree(name, depth=1, top_k=None, min_share=0.0).nodes.set_index("id")["weight"]
    for layer in range(tiny(name).cfg.n_layers):
        parts = [weight for name_, weight in heads.items() if re.match(rf"L{layer}(H|\.b_O)", name_)]
        assert layers[f"L{layer}Attn@{POSITIONS - 1}"] == pytest.approx(sum(parts), rel=1e-9)


@pytest.mark.parametrize("name", TWO_MODELS)
def test_other_targets_and_earlier_positions(name: str) -> None:
    model, _, logits, activations = run(name)
    cache = as_cache(activations, model)
    log_prob = attribution_tree(cache, model, log_prob_target(cache, ANSWER), depth=2)
    assert_adds_up(log_prob, 1e-10)
    assert log_prob.nodes["weight"][0] == pytest.approx(float(logits[0, -1].log_softmax(-1)[ANSWER]), rel=1e-9)
    assert "softmax@6" in set(log_prob.nodes["id"])
    direction = torch.randn(model.W_U.shape[0], dtype=torch.float64)
    middle = attribution_tree(cache, model, direction_target(cache, direction, layer=1, pos=4), depth=2, top_k=None)
    assert_adds_up(middle, 1e-10)
    assert middle.nodes["id"][0] == "direction@4"
    assert set(middle.nodes.loc[middle.nodes["kind"].isin(["head", "mlp"]), "layer"]) == {0}
    assert middle.nodes["pos"].max() == 4
    with pytest.raises(InputError, match="L1H0@4 gives nothing to what is read at position 4 before layer 1"):
        attribution_tree(cache, model, direction_target(cache, direction, layer=1, pos=4), start="L1H0@4")
    earlier = tree(name, pos=-4, wrong_answers=None)
    assert earlier.nodes["weight"][0] == pytest.approx(float(logits[0, 3, ANSWER]), rel=1e-9)


@pytest.mark.parametrize("name", TWO_MODELS)
def test_in_single_and_half_precision(name: str) -> None:
    assert_adds_up(tree(name, torch.float32), 1e-5)
    assert_adds_up(tree(name, torch.bfloat16), 3e-2)


# --- which nodes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("top_k", "min_share", "depth", "deepest"),
    [(3, 0.0, 2, 2), (None, 0.05, 3, 3), (2, 0.1, None, 3), (7, 0.0, None, 6), (7, 0.3, 1, 1)],
)
def test_the_tree_is_all_that_its_limits_allow(
    top_k: int | None, min_share: float, depth: int | None, deepest: int
) -> None:
    found = tree("gpt2", top_k=top_k, min_share=min_share, depth=depth)
    assert found.ended == "complete"
    nodes = found.nodes
    sources = nodes[nodes["kind"].isin(["head", "mlp", "embed", "pos_embed"])]
    assert (sources["weight"].abs() >= min_share * abs(nodes["weight"][0])).all()
    assert nodes["depth"].max() == deepest
    inner = nodes["kind"].isin(["head", "mlp", "logit"])
    assert (nodes["expanded"] == (inner & (nodes["depth"] < (np.inf if depth is None else depth)))).all()
    complete = tree("gpt2", top_k=None, min_share=0.0, depth=1)
    everything = complete.children(0)
    mine = found.children(0)
    kept = mine[mine["kind"] != "rest"]
    cut = everything[~everything["id"].isin(kept["id"])]
    # Constants are kept whatever their size, biases that are written by a layer are not.
    components = kept["id"].str.match(r"L\dH|L\dMLP|embed|pos_embed|L\d\.b_O")
    strong = everything.loc[everything["id"].str.match(r"L\dH|L\dMLP|embed|pos_embed|L\d\.b_O"), "weight"].abs()
    strong = strong[strong >= min_share * abs(nodes["weight"][0])]
    assert components.sum() == (len(strong) if top_k is None else min(top_k, len(strong)))
    assert set(strong.nlargest(components.sum())) == set(kept.loc[components, "weight"].abs())
    rest = mine[mine["kind"] == "rest"].iloc[0]
    assert rest["weight"] == pytest.approx(cut["weight"].sum(), rel=1e-9)
    assert rest["largest"] == pytest.approx(cut["weight"].abs().max(), rel=1e-12)
    assert rest["sources"] == len(cut)
    sizes = kept.loc[kept["kind"].isin(["head", "mlp", "embed", "pos_embed"]), "weight"].abs()
    assert sizes.is_monotonic_decreasing
    assert sizes.min() >= rest["largest"]


def test_the_strongest_node_is_always_next() -> None:
    found = tree("gpt2", depth=None, top_k=None, min_share=0.0, max_nodes=57)
    assert found.ended == "nodes"
    nodes = found.nodes
    assert nodes["expanded"].sum() == 57
    # Once more, one by one in a plain loop.
    again = tree("gpt2", depth=None, top_k=None, min_share=0.0, max_nodes=0)
    for _ in range(57):
        left = again.nodes[again.nodes["kind"].isin(["head", "mlp", "logit"]) & ~again.nodes["expanded"]]
        again.expand(int(left["weight"].abs().idxmax()))
    assert again.nodes["id"].tolist() == nodes["id"].tolist()
    assert again.nodes["parent"].tolist() == nodes["parent"].tolist()
    assert_close(again.nodes["weight"].tolist(), nodes["weight"].tolist(), 1e-12)


@pytest.mark.parametrize("steps", [(0, 31, 39), (1,) * 70, (70,)], ids=["some", "one by one", "all"])
def test_resumed_equals_unresumed_whatever_goes_together(steps: tuple[int, ...]) -> None:
    options = {"depth": None, "top_k": 5, "min_share": 0.0}
    whole = tree("llama-biased", **options, max_nodes=90)
    resumed = tree("llama-biased", **options, max_nodes=20)
    before = resumed.nodes
    for step in steps:
        resumed.grow(step)
    assert_same(resumed, whole)
    first = [*before.columns.drop("expanded")]
    assert resumed.nodes[first].head(len(before)).equals(before[first])


def assert_same(one: AttributionTree, other: AttributionTree) -> None:
    exact = ["parent", "depth", "id", "kind", "layer", "head", "pos", "token", "expanded", "sources"]
    assert one.nodes[exact].equals(other.nodes[exact])
    assert_close(one.nodes["weight"].tolist(), other.nodes["weight"].tolist(), 1e-12)


def test_nothing_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[int, int, bytes]] = []
    expand = Expander.expand

    def counted(self: Expander, code: np.ndarray, pos: np.ndarray, directions: torch.Tensor, *others: Any) -> Any:
        computed.extend(zip(code.tolist(), pos.tolist(), map(bytes, directions.numpy()), strict=True))
        return expand(self, code, pos, directions, *others)

    monkeypatch.setattr(Expander, "expand", counted)
    found = tree("gpt2", depth=2, top_k=7, min_share=0.0)
    found.expand(found.find(found.nodes["id"][1])).grow(40).expand(
        [0, *found.nodes.index[found.nodes["kind"] == "head"][:5]]
    )
    found.grow(20)
    assert len(computed) == len(set(computed))
    assert len(computed) >= found.nodes["expanded"].sum() > 60


def test_growing_deeper_goes_on_below() -> None:
    options = {"top_k": 3, "min_share": 0.0}
    found = tree("gpt2", depth=2, **options)
    assert found.nodes["depth"].max() == 2
    assert found.grow(None, depth=4).ended == "complete"
    whole = tree("gpt2", depth=4, **options, max_nodes=None)
    keys = ["depth", "id", "weight"]
    assert_close(
        np.sort(found.nodes["weight"].to_numpy()).tolist(), np.sort(whole.nodes["weight"].to_numpy()).tolist(), 1e-12
    )
    assert found.nodes[keys[:2]].value_counts().equals(whole.nodes[keys[:2]].value_counts())


def test_a_budget_of_seconds_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    found = tree("gpt2", depth=None, top_k=None, min_share=0.0, max_nodes=None, max_seconds=11.0)
    assert found.ended == "seconds"
    assert found.nodes["expanded"].sum() == 10
    assert "stopped by the clock" in str(found)


def test_ctrl_c_keeps_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def pressing() -> float:
        """A clock that is looked at before every node; at the 50th look, Ctrl-C is pressed."""
        looks.append(None)
        if len(looks) == 50:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", pressing)
        found = tree("gpt2", depth=None, top_k=7, min_share=0.0, max_nodes=400, max_seconds=60.0)
    assert found.ended == "interrupted"
    assert found.nodes["expanded"].sum() in range(40, 50)
    assert "stopped by Ctrl-C" in str(found)
    assert signal.getsignal(signal.SIGINT) is before
    assert_adds_up(found, 1e-10)
    found.grow(int(400 - found.nodes["expanded"].sum()))
    assert_same(found, tree("gpt2", depth=None, top_k=7, min_share=0.0, max_nodes=400))


def test_other_threads_may_grow_trees() -> None:
    grown = []
    thread = threading.Thread(target=lambda: grown.append(tree("gpt2", depth=2)))
    thread.start()
    thread.join()
    assert_same(grown[0], tree("gpt2", depth=2))


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "n_missed"), [("gpt2", 2), ("llama-biased", 8), ("native-attention-only", 17)])
def test_only_paths_that_others_cancel_are_missed(name: str, n_missed: int) -> None:
    """In random models many cancel; the search says how strong the nodes are that it did not look into."""
    model, _, _, cache = run(name)
    options = {"wrong_answers": WRONG, "pos": 2}
    complete = attribution_tree(
        cache, model, ANSWER, **options, depth=None, top_k=None, min_share=0.0, max_nodes=None, max_seconds=600.0
    )
    weight_of = dict(complete.paths(None).table[["path", "weight"]].itertuples(index=False))
    found = strongest_paths(cache, model, ANSWER, **options, count=29, max_nodes=None)
    assert found.settled
    assert len(found) == 29
    assert found.tree.nodes["expanded"].sum() < complete.nodes["expanded"].sum()
    assert_close([weight_of[path] for path in found.table["path"]], found.table["weight"].tolist(), 1e-10)
    nodes, weakest = complete.nodes, found.table["weight"].abs().min()
    strong = complete.paths(200).table
    strong = strong[strong["weight"].abs() > weakest]
    assert len(strong) >= 28
    missed = strong[~strong["path"].isin(found.table["path"])]
    assert len(missed) == n_missed
    for row in missed.itertuples():
        on_the_way, at = [], row.row
        while at > 0:
            on_the_way.append(abs(nodes["weight"][at]))
            at = nodes["parent"][at]
        assert min(on_the_way) <= found.strongest_unexplored * (1 + 1e-9)
    for paths in (found, complete.paths(7)):
        assert paths.explained + paths.weaker + paths.unexplored == pytest.approx(paths.total, rel=1e-9)
        assert paths.explained == pytest.approx(paths.table["weight"].sum(), rel=1e-12)


def test_paths_say_what_was_not_explored() -> None:
    model, _, _, cache = run("gpt2")
    paths = strongest_paths(cache, model, ANSWER, count=11, max_nodes=4, top_k=3)
    nodes = paths.tree.nodes
    assert paths.tree.ended == "nodes"
    assert nodes["expanded"].sum() == 4
    ends = nodes[~nodes["expanded"]]
    open_ends = ends[ends["kind"].isin(["head", "mlp", "rest"])]
    assert paths.unexplored == pytest.approx(open_ends["weight"].sum(), rel=1e-12)
    assert paths.strongest_unexplored == open_ends["largest"].max()
    assert not paths.settled
    assert "Stronger paths may be missing" in str(paths)
    assert "All paths were followed" not in str(paths)
    more = paths.tree.grow(None, max_seconds=30.0, paths=3).paths(3)
    assert more.tree.ended == "enough"
    assert more.settled == (more.strongest_unexplored <= more.table["weight"].abs().min())


def test_a_path_reads_from_the_answer_to_the_token() -> None:
    model, tokens, _, cache = run("gpt2")
    table = strongest_paths(cache, model, ANSWER, count=50, start="L2H1@6").table
    for row in table.itertuples():
        parts = row.path.split(" ← ")
        assert len(parts) == row.length
        text = f"w{int(tokens[0, row.pos])}"
        assert parts[-1] == f"{row.leaf.split('@')[0]} {text!r}@{row.pos}"
        assert row.token == text
    assert set(table["kind"]) <= {"embed", "pos_embed", "bias"}
    assert table["weight"].abs().is_monotonic_decreasing
    assert json.loads(json.dumps(strongest_paths(cache, model, ANSWER, count=3).to_dict()))["paths"][0]["leaf"]
    with pytest.raises(InputError, match="`count` must be at least 1"):
        strongest_paths(cache, model, ANSWER, count=0)


# --- what goes in, what comes out ------------------------------------------------------------------------------------


def test_nodes_say_what_they_are() -> None:
    found = tree("gpt2", top_k=None, min_share=0.0, depth=2, max_nodes=None)
    rows = {row.id: row for row in found.nodes.itertuples()}
    n_layers = tiny("gpt2").cfg.n_layers
    expected = {
        "embed@4": ("embed", "embed", -1, -1, 4),
        "L0H1@3": ("head", "L0H1", 0, 1, 3),
        "L0MLP@6": ("mlp", "0_mlp_out", 0, -1, 6),
        "L1.b_O@6": ("bias", "1_b_O", 1, -1, 6),
        "L1.b_V@6": ("bias", "1_b_V", 1, -1, 6),
        "L2.ln2.b@6": ("bias", "2_ln2.b", 2, -1, 6),
        "ln_final.b@6": ("bias", "ln_final.b", n_layers, -1, 6),
        "logit@6": ("logit", "logit", n_layers, -1, 6),
    }
    for id_, (kind, component, layer, head, pos) in expected.items():
        row = rows[id_]
        assert (row.kind, row.component, row.layer, row.head, row.pos) == (kind, component, layer, head, pos), id_
        assert row.token == f"w{int(run('gpt2').tokens[0, pos])}"
    cut = tree("gpt2").nodes.query("kind == 'rest'").iloc[0]
    assert (cut["id"], cut["component"], cut["layer"], cut["head"], cut["pos"], cut["token"]) == (
        *("rest", "rest", -1, -1, -1),
        "",
    )
    assert_close((found.nodes["share"] * found.nodes["weight"][0]).tolist(), found.nodes["weight"].tolist())
    parents = found.nodes["parent"].tolist()
    assert all(found.nodes["depth"][row] == found.nodes["depth"][parents[row]] + 1 for row in range(1, len(parents)))
    graph = attribution_graph(run("gpt2").cache, tiny("gpt2"), ANSWER, wrong_answers=WRONG)
    assert found.metadata.tokens == graph.metadata.tokens
    assert found.metadata.target == graph.metadata.target
    nodes = graph.nodes.set_index("id")
    columns = ["kind", "component", "layer", "head", "pos", "token"]
    for row in found.nodes.drop_duplicates("id").to_dict("records"):
        assert nodes.loc[row["id"], columns].tolist() == [row[column] for column in columns]


@pytest.mark.parametrize("unit", ["heads", "layers", "neurons"])
@pytest.mark.parametrize("name", ["gpt2", *available("mixtral")])
def test_saved_and_loaded_it_is_the_same_tree(name: str, unit: str, tmp_path: Path) -> None:
    found = tree(name, unit=unit)
    loaded = AttributionTree.load(found.save(tmp_path / "tree.json"))
    assert loaded.nodes.equals(found.nodes)
    assert loaded.nodes.dtypes.equals(found.nodes.dtypes)
    assert loaded.metadata == found.metadata
    assert loaded.save(tmp_path / "again.json").read_bytes() == (tmp_path / "tree.json").read_bytes()
    assert loaded.paths().table.equals(found.paths().table)
    assert str(loaded).splitlines()[2:] == str(found).splitlines()[2:]
    assert tree(name, unit=unit).save(tmp_path / "same.json").read_bytes() == (tmp_path / "tree.json").read_bytes()
    for grow in (lambda: loaded.grow(3), lambda: loaded.expand(0)):
        with pytest.raises(InputError, match="read from a file holds no activations"):
            grow()


# What the schema says, in its own words, and what it cannot say.
BREAKS_SCHEMA = [
    (lambda d: d.pop("nodes"), r"must contain .*'nodes'"),
    (lambda d: d.update(version=0), "version must be same as const"),
    (lambda d: d.update(nodes=[]), "nodes must contain at least 1 items"),
    (lambda d: d["nodes"][1].update(weight="1"), r"nodes\[1\].weight must be number"),
    (lambda d: d["nodes"][1].update(largest=None), "largest must be number"),
    (lambda d: d["nodes"][1].update(expanded=1), "expanded must be boolean"),
    (lambda d: d["nodes"][1].update(depth=True), "depth must be integer"),
    (lambda d: d["nodes"][1].update(sources=0.5), "sources must be integer"),
    (lambda d: d["nodes"][1].update(layer=2**31), "layer must be smaller"),
    (lambda d: d["nodes"][1].update(pos=-1), "pos must be bigger"),
    (lambda d: d["nodes"][1].update(id="two\nlines"), "id must match pattern"),
    (lambda d: d["nodes"][1].update(surprise=1), r"must not contain .*'surprise'"),
    (lambda d: d["nodes"][1].pop("head"), r"must contain .*'head'"),
    (lambda d: d["metadata"]["target"].pop("label"), r"metadata.target must contain .*'label'"),
    (lambda d: d["metadata"]["tokens"][0].update(text=7), r"tokens\[0\].text must be string"),
    (lambda d: d["metadata"].update(top_k="5"), "top_k must be integer or null"),
    (lambda d: d["metadata"].update(value=None), "value must be number"),
    (lambda d: d["metadata"].update(surprise=1), r"must not contain .*'surprise'"),
    (lambda d: d["metadata"].pop("unit"), r"must contain .*'unit'"),
]
BREAKS_MORE = [
    (lambda d: d.update(format="other"), "expected recursive_dla.attribution_tree version 1, and this is 'other'"),
    (lambda d: d.update(version=2), "it is of version 2, which a later recursive_dla wrote"),
    (lambda d: d["nodes"][1].update(parent=5), "`parent` is not a node before it"),
    (lambda d: d["nodes"][1].update(parent=None), "`parent` is not a node before it"),
    (lambda d: d["nodes"][0].update(parent=0), "`parent` is not a node before it"),
    (lambda d: d["nodes"][1].update(pos=99), "not the position of a token"),
    (lambda d: d["nodes"][1].update(weight=10**400), "too large"),
    (lambda d: d["nodes"][1].update(weight=float("nan")), "NaN is not a finite number"),
    (lambda d: d["metadata"]["target"].update(pos=99), "the target's `pos` 99 is not the position"),
    (lambda d: d["metadata"]["tokens"][0].update(pos=1), "`pos` must count from 0"),
]


@pytest.mark.parametrize(("change", "message"), BREAKS_SCHEMA + BREAKS_MORE)
def test_a_file_that_holds_no_tree_is_refused(
    types_unchecked: None, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    path = tree("gpt2", depth=1).save(tmp_path / "tree.json")
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=f"does not hold an attribution tree: .*{message}"):
        AttributionTree.load(path)


@pytest.mark.parametrize("change", [change for change, _ in BREAKS_SCHEMA])
def test_the_shipped_schema_refuses_the_same(change: Callable[[Any], Any]) -> None:
    document = json.loads(json.dumps(tree_document(tree("gpt2", depth=1))))
    validator = jsonschema.Draft7Validator({**schema()["definitions"]["tree"], "definitions": schema()["definitions"]})
    assert validator.is_valid(document)
    change(document)
    assert not validator.is_valid(document)


def test_other_files_and_places_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    for text in ("[", "[]", "null", "{}", '{"format": "recursive_dla.attribution_graph"}'):
        path.write_text(text)
        with pytest.raises(InputError, match="does not hold an attribution tree"):
            AttributionTree.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        AttributionTree.load(tmp_path / "nothing.json")
    with pytest.raises(InputError, match=r"Trees are saved as \.json"):
        tree("gpt2", depth=1).save(tmp_path / "tree.html")
    with pytest.raises(InputError, match=r"The folder .*none' does not exist"):
        tree("gpt2", depth=1).save(tmp_path / "none" / "tree.json")


def test_whole_numbers_of_a_tree_may_have_a_fraction_of_zero(tmp_path: Path) -> None:
    """As JSON has them, and as the schema allows."""
    found = tree("gpt2", depth=1, top_k=3)
    document = json.loads(found.save(tmp_path / "tree.json").read_text())
    document["nodes"][1].update(parent=0.0, depth=1.0)
    document["metadata"].update(top_k=3.0)
    (tmp_path / "tree.json").write_text(json.dumps(document))
    loaded = AttributionTree.load(tmp_path / "tree.json")
    assert loaded.nodes.equals(found.nodes)
    assert loaded.nodes.dtypes.equals(found.nodes.dtypes)
    assert type(loaded.metadata.top_k) is int


def test_networkx_holds_the_same_tree() -> None:
    found = tree("gpt2", depth=2)
    digraph = found.to_networkx()
    assert nx.is_arborescence(digraph)
    assert digraph.graph["target"]["answer"] == "w5"
    for row, node in enumerate(found.nodes.to_dict("records")):
        assert digraph.nodes[row]["id"] == node["id"]
        for parent, _, weight in digraph.in_edges(row, data="weight"):
            assert (parent, weight) == (node["parent"], node["weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "words"}, "`unit` must be one of 'heads', 'layers', 'neurons'. Got 'words'"),
        ({"top_k": 0}, "`top_k` must be at least 1, or None for all. Got 0"),
        ({"min_share": float("nan")}, "`min_share` must be at least 0. Got nan"),
        ({"depth": None, "max_nodes": None}, "Give `depth`, `max_nodes` or `max_seconds`"),
        ({"depth": -1}, "`depth` must be at least 0, or None for any. Got -1"),
        ({"max_nodes": -3}, "`max_nodes` must be at least 0, or None for any. Got -3"),
        ({"max_seconds": -1.0}, "`max_seconds` must be at least 0. Got -1"),
        ({"rule": "lrp"}, "Unknown rule 'lrp'"),
        ({"start": "L0H0"}, "must be a component and a position, such as 'L1H0@-1'. Got 'L0H0'"),
        ({"start": "@3"}, "must be a component and a position"),
        ({"start": "L0H0@7"}, "from 0 to 6"),
        ({"start": "L9H0@6"}, "no component 'L9H0' here; there are 'L0H0' to 'L2MLP'"),
        ({"start": "L0N13@6"}, "no component 'L0N13' here"),
        ({"start": "L0Attn@6"}, "no component 'L0Attn' here"),
        ({"start": "embed@3"}, "'embed' reads nothing"),
        ({"start": "L2H0@5"}, "L2H0@5 gives nothing to what is read at position 6"),
        ({"start": "L0H0@5", "pos": 4}, "L0H0@5 gives nothing to what is read at position 4"),
        ({"start": "logit@5"}, "The answer is read at position 6. Got `start` logit@5"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        tree("gpt2", **options)


def test_only_one_answer_to_one_prompt_of_a_checked_cache() -> None:
    model, _, _, cache = run("gpt2", prompts=PROMPTS)
    with pytest.raises(InputError, match=f"Got {PROMPTS} prompts and 1 answers"):
        attribution_tree(cache, model, ANSWER)
    model, _, _, cache = run("gpt2")
    with pytest.raises(InputError, match="Got 1 prompts and 2 answers"):
        attribution_tree(cache, model, [ANSWER, 7])
    broken = {**cache.cache_dict, "blocks.1.attn.hook_pattern": 0.5 * cache["pattern", 1]}
    with pytest.raises(CacheError, match=r"attn.hook_z of layer 1"):
        attribution_tree(broken, model, ANSWER)
    assert attribution_tree(broken, model, ANSWER, check=False).completeness_error > 1e-3


def test_nodes_that_cannot_be_expanded_or_found() -> None:
    found = tree("gpt2", depth=1)
    rest = int(found.nodes.index[found.nodes["kind"] == "rest"][0])
    with pytest.raises(InputError, match=f"Node {rest}, rest, has no sources to show"):
        found.expand(rest)
    with pytest.raises(InputError, match=f"The tree has the nodes 0 to {len(found.nodes) - 1}. Got 999"):
        found.expand([1, 999])
    with pytest.raises(InputError, match="'logit@6' has no child 'L9H9@1' in this tree"):
        found.find("L9H9@1")
    with pytest.raises(InputError, match="Give `max_nodes`, `depth` or `max_seconds`"):
        found.grow(None)


def strongest_together(found: AttributionTree, most: int) -> set[int]:
    """The root, and one after the other the strongest node whose parent is there."""
    weight, parent = found.nodes["weight"].abs().tolist(), found.nodes["parent"].tolist()
    taken = {0}
    while len(taken) < most:
        near = [row for row in range(1, len(weight)) if parent[row] in taken and row not in taken]
        if not near:
            break
        taken.add(max(near, key=lambda row: weight[row]))
    return taken


def test_printed_it_shows_the_strongest_nodes_and_sums_the_others() -> None:
    from recursive_dla.output.tree_text import outline, tree_text

    found = tree("gpt2", depth=3, top_k=4)
    for most in (1, 10, 10_000):
        lines = outline(found, most)
        shown = {line.row for line in lines if line.row is not None}
        strongest = strongest_together(found, most)
        # One that would be left out alone is shown all the same, and a lone rest never is.
        siblings = {row: set(found.children(int(found.nodes["parent"][row])).index) for row in shown | strongest if row}
        assert all(siblings[row] <= shown for row in shown - strongest)
        assert all(siblings[row] == {row} for row in strongest - shown)
        assert set(found.nodes["kind"][list(strongest - shown)]) <= {"rest"}
        below: dict[int, float] = defaultdict(float)
        for line in lines[1:]:
            below[line.parent] += line.weight
        for place, total in below.items():
            assert total == pytest.approx(lines[place].weight, rel=1e-9)
        assert len(tree_text(found, most).splitlines()) == len(lines) + 2
    text = str(found)
    value = found.metadata.value
    assert text.startswith(f"AttributionTree of 'w5' − 'w17' at 6: {value:+.4f} logits, {len(found.nodes)} nodes\n")
    unexpanded = found.nodes[found.nodes["kind"].isin(["head", "mlp"]) & ~found.nodes["expanded"]]
    numbers = re.findall(r"\[(\d+)\]$", text, flags=re.MULTILINE)
    assert numbers
    assert set(map(int, numbers)) <= set(unexpanded.index)
    assert repr(found) == text.splitlines()[0]
    started = tree("gpt2", start="L2H1@6")
    assert str(started).startswith("AttributionTree of L2H1@6 in 'w5' − 'w17' at 6: ")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_draws_every_line_with_its_bar(theme: str) -> None:
    found = tree("gpt2", depth=3, top_k=4)
    frame = tree_frame(found, max_nodes=17)
    assert (frame["row"] >= 0).sum() >= 17
    lines, nodes, bars = tree_figure(found, max_nodes=17, theme=theme).data
    assert len(nodes.x) == len(bars.x) == len(frame)
    assert list(bars.x) == frame["weight"].tolist()
    assert (bars.marker.cmin, bars.marker.cmax) == (-bars.marker.cmax, frame["weight"].abs().max())
    assert len(lines.x) == 4 * (len(frame) - 1)
    deepest = int(frame["depth"].idxmax())
    assert nodes.hovertext[deepest].count("→") == frame["depth"][deepest]
    assert found.figure(theme=theme).layout.template == tree_figure(found, theme=theme).layout.template
    with pytest.raises(InputError, match="`max_nodes` must be at least 1"):
        tree_frame(found, max_nodes=0)


def test_notebooks_show_markup_only_where_it_is_meant() -> None:
    model, _, _, cache = run("gpt2")
    found = tree("gpt2", depth=3)
    page = found._repr_html_()
    assert page.count("<details") == page.count("</details>") > 3
    assert page.count("<div") == page.count("</div>")
    assert len(page) < 40_000
    assert "embed &#x27;" in strongest_paths(cache, model, ANSWER, count=5)._repr_html_()


def test_attention_only_models_have_no_neurons() -> None:
    found = tree("native-attention-only", unit="neurons")
    assert {"logit", "head", "embed", "pos_embed"} <= set(found.nodes["kind"])
    assert found.nodes.equals(tree("native-attention-only", unit="heads").nodes)
