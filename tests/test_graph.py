"""The attribution graph: a flow that conserves the logit, edge by edge the sum over all paths."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import (
    ATTENTION_ONLY,
    EVERY_MODEL,
    FEW,
    GATED,
    MODELS,
    POSITIONS,
    PROMPTS,
    TWO_MODELS,
    VOCAB,
    WITH_EXPERTS,
    available,
    boot,
    matrix,
    precision,
    random_tokens,
    run,
    run_on,
    tiny,
    uncapped,
)
from oracles import Frozen, assert_close, graph_edges, node_name
from transformers import GPT2Config, GPT2LMHeadModel

from recursive_dla import ActivationCache, AttributionGraph, attribution_graph
from recursive_dla.attribution.targets import direction_target, log_prob_target
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.errors import CacheError, InputError

ANSWER, WRONG = 5, 17
RULES = ("ratio", "frozen-gate", "integrated-gradients", "gradient", "stop")
INNER = ("head", "mlp", "logit")


def graph(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> AttributionGraph:
    model, _, _, cache = run(name, dtype)
    return attribution_graph(cache, model, ANSWER, **{"wrong_answers": WRONG, **options})


def edges(found: AttributionGraph) -> dict[tuple[str, str], float]:
    ids = found.nodes["id"].tolist()
    ends = zip(found.edge_source, found.edge_target, found.edge_weight.tolist(), strict=True)
    return {(ids[source], ids[target]): weight for source, target, weight in ends}


def flow(found: AttributionGraph) -> tuple[np.ndarray, np.ndarray]:
    """What comes into every node over its edges and what leaves it, summed in a plain loop."""
    into, out = np.zeros(len(found.nodes)), np.zeros(len(found.nodes))
    for source, target, weight in zip(found.edge_source, found.edge_target, found.edge_weight.tolist(), strict=True):
        into[target] += weight
        out[source] += weight
    return into, out


def assert_same_edges(found: dict[tuple[str, str], float], expected: dict[tuple[str, str], float]) -> None:
    assert set(found) == set(expected)
    assert_close([found[ends] for ends in expected], list(expected.values()))


# --- every number ----------------------------------------------------------------------------------------------------

# At seven positions and more there are several blocks of keys; where there are no more queries than d_head, the sweep
# contracts in another order.
PROMPT_LENGTHS = [
    *((name, POSITIONS) for name in EVERY_MODEL),
    *(("gpt2", 5), ("llama-biased", 2), ("gpt2-wide-heads", 13)),
]


@pytest.mark.parametrize(("name", "positions"), matrix(PROMPT_LENGTHS))
def test_every_edge_is_the_sum_over_all_paths(name: str, positions: int) -> None:
    model = tiny(name)
    cache = run_on(model, random_tokens(positions=positions)).cache
    found = attribution_graph(cache, model, ANSWER, wrong_answers=WRONG)
    assert_same_edges(edges(found), graph_edges(Frozen(model, cache), ANSWER, WRONG, positions - 1))


@pytest.mark.parametrize("rule", RULES[1:])
@pytest.mark.parametrize("name", matrix([*TWO_MODELS, *available(*WITH_EXPERTS)]))
def test_every_edge_under_other_rules(name: str, rule: str) -> None:
    if rule == "frozen-gate" and name not in GATED:
        with pytest.raises(InputError, match="needs a gated MLP"):
            graph(name, rule=rule)
        return
    frozen = Frozen(tiny(name), run(name).cache, rule=rule)
    assert_same_edges(edges(graph(name, rule=rule)), graph_edges(frozen, ANSWER, WRONG, POSITIONS - 1))


@pytest.mark.parametrize("name", TWO_MODELS)
def test_every_edge_at_an_earlier_position_of_one_answer(name: str) -> None:
    found = graph(name, wrong_answers=None, pos=-4)
    assert_same_edges(edges(found), graph_edges(Frozen(tiny(name), run(name).cache), ANSWER, None, 3))
    assert found.nodes["pos"].max() == 3
    assert found.metadata.target.pos == 3


@pytest.mark.parametrize("name", matrix(EVERY_MODEL))
def test_attributions_are_gradients_times_outputs(name: str) -> None:
    """Of the model with patterns, norm scales and neuron slopes frozen, by autograd."""
    frozen = Frozen(tiny(name), run(name).cache)
    logit, written = frozen.forward(frozen.direction(ANSWER, WRONG), POSITIONS - 1)
    logit.backward()
    attribution_of = dict(zip(graph(name).nodes["id"], graph(name).nodes["attribution"], strict=True))
    found, expected = [], []
    for label, output in written.items():
        for pos in range(POSITIONS):
            found.append(attribution_of.get(f"{node_name(label)}@{pos}", 0.0))
            expected.append(float((output.grad[pos] * output[pos].detach()).sum()))
    assert_close(found, expected, precision(name))


@pytest.mark.parametrize(
    ("name", "rule"),
    matrix(
        [(name, "ratio") for name in EVERY_MODEL]
        + [(name, "gradient") for name in MODELS if name not in ATTENTION_ONLY]
    ),
)
def test_removing_a_source_from_what_one_destination_reads_moves_the_logit_by_the_edge(name: str, rule: str) -> None:
    frozen = Frozen(tiny(name), run(name).cache, rule=rule)
    u = frozen.direction(ANSWER, WRONG)
    labels = {node_name(label): label for label in (*frozen.components(), "logit")}
    whole = float(frozen.forward(u, POSITIONS - 1)[0].detach())
    weights = {
        (source, target): weight
        for (source, target), weight in edges(graph(name, rule=rule)).items()
        if source.split("@")[0] in labels
    }
    found, moved = [], []
    for source, target in random.Random(0).sample(sorted(weights), 31):
        (source_name, source_pos), (target_name, target_pos) = source.split("@"), target.split("@")
        removed = (labels[source_name], int(source_pos), labels[target_name], int(target_pos))
        found.append(weights[source, target])
        moved.append(whole - float(frozen.forward(u, POSITIONS - 1, removed)[0].detach()))
    assert_close(found, moved, precision(name))


# --- conservation ----------------------------------------------------------------------------------------------------

WITH_RULES = [
    (name, rule)
    for name in EVERY_MODEL
    for rule in (RULES if name in MODELS else ("ratio",))
    if rule != "frozen-gate" or name in GATED
]


def assert_conserved(found: AttributionGraph, relative: float) -> None:
    nodes = found.nodes
    into, out = flow(found)
    kind = nodes["kind"].to_numpy()
    inner, before_logit = np.isin(kind, INNER), kind != "logit"
    assert inner.any()
    assert not into[~inner].any()
    assert not out[~before_logit].any()
    attributions = nodes["attribution"].to_numpy(float)
    assert_close(into[inner] + nodes["rest_in"].to_numpy()[inner], attributions[inner], relative)
    # The logit gives nothing on, but what it is.
    out = np.where(before_logit, out + nodes["rest_out"], found.metadata.value)
    assert_close(out, attributions, relative)


@pytest.mark.parametrize(
    ("name", "rule", "dtype"),
    matrix([*((*each, torch.float64) for each in WITH_RULES), *((name, "ratio", torch.float32) for name in MODELS)]),
    ids=str,
)
def test_every_node_conserves_its_flow_and_leaves_sum_to_the_logit(name: str, rule: str, dtype: torch.dtype) -> None:
    found = graph(name, dtype, rule=rule)
    assert_conserved(found, precision(name, dtype))
    assert not found.nodes[["rest_in", "rest_out"]].any(axis=None)
    leaves = found.nodes[~found.nodes["kind"].isin(INNER)]
    logits = uncapped(tiny(name, dtype), run(name, dtype).logits[0, -1])
    size = leaves["attribution"].abs().sum()
    assert abs(leaves["attribution"].sum() - float(logits[ANSWER] - logits[WRONG])) <= precision(name, dtype) * size
    assert found.metadata.completeness_error <= 10 * precision(name, dtype)
    assert found.edge_weight.dtype == found.nodes["attribution"].dtype == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", FEW)
def test_every_node_and_edge_has_a_name_of_its_own(name: str, tmp_path: Path) -> None:
    found = graph(name)
    assert found.nodes["id"].is_unique
    assert not found.edges.duplicated(["source", "target"]).any()
    assert len(AttributionGraph.load(found.save(tmp_path / "graph.json")).nodes) == len(found.nodes)


@pytest.mark.parametrize("name", TWO_MODELS)
def test_other_targets_than_logits_are_conserved_too(name: str) -> None:
    model, _, logits, activations = run(name)
    cache = as_cache(activations, model)
    log_prob = attribution_graph(cache, model, log_prob_target(cache, ANSWER))
    assert_conserved(log_prob, 1e-10)
    assert log_prob.metadata.value == pytest.approx(float(logits[0, -1].log_softmax(-1)[ANSWER]), rel=1e-9)
    direction = torch.randn(model.W_U.shape[0], dtype=torch.float64)
    middle = attribution_graph(cache, model, direction_target(cache, direction, layer=1, pos=4))
    assert_conserved(middle, 1e-10)
    assert middle.metadata.value == pytest.approx(float(activations["resid_pre", 1][0, 4] @ direction), rel=1e-9)
    inner = middle.nodes[middle.nodes["kind"].isin(["head", "mlp"])]
    assert set(inner["layer"]) == {0}
    assert middle.nodes["pos"].max() == 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_half_precision_is_computed_with_in_float32(name: str, dtype: torch.dtype) -> None:
    found = graph(name, dtype)
    assert found.edge_weight.dtype == np.float32
    assert_conserved(found, 3e-2 if dtype == torch.bfloat16 else 4e-3)


@pytest.mark.parametrize("name", TWO_MODELS)
def test_nodes_say_what_they_are(name: str) -> None:
    found = graph(name)
    n_layers = tiny(name).cfg.n_layers
    assert found.nodes["id"].is_unique
    rows = {row.id: row for row in found.nodes.itertuples()}
    expected = {
        "embed@4": ("embed", "embed", -1, -1, 4),
        "L0H1@3": ("head", "L0H1", 0, 1, 3),
        "L0MLP@2": ("mlp", "0_mlp_out", 0, -1, 2),
        "L1.b_O@6": ("bias", "1_b_O", 1, -1, 6),
        "L1.b_V@6": ("bias", "1_b_V", 1, -1, 6),
        "L0.b_out@1": ("bias", "0_b_out", 0, -1, 1),
        "logit@6": ("logit", "logit", n_layers, -1, 6),
    }
    if name == "gpt2":
        expected |= {
            "pos_embed@0": ("pos_embed", "pos_embed", -1, -1, 0),
            "L1.ln2.b@6": ("bias", "1_ln2.b", 1, -1, 6),
            "ln_final.b@6": ("bias", "ln_final.b", n_layers, -1, 6),
        }
    for id_, (kind, component, layer, head, pos) in expected.items():
        row = rows[id_]
        assert (row.kind, row.component, row.layer, row.head, row.pos) == (kind, component, layer, head, pos), id_
        assert row.token == f"w{int(random_tokens()[0, pos])}"
    assert {row.kind for row in found.nodes.itertuples()} == {
        *INNER,
        "embed",
        "bias",
        *(("pos_embed",) if name == "gpt2" else ()),
    }
    assert "remainder" in set(graph(name, rule="gradient").nodes["kind"])


def test_metadata() -> None:
    meta = graph("gpt2").metadata
    assert (meta.model, meta.n_layers, meta.n_heads, meta.rule, meta.pruning) == ("gpt2", 3, 2, "ratio", None)
    assert [(token.pos, token.token_id) for token in meta.tokens] == list(enumerate(random_tokens()[0].tolist()))
    assert meta.prompt == "".join(f"w{token}" for token in random_tokens()[0].tolist())
    target = meta.target
    assert (target.label, target.answer, target.wrong_answer, target.pos) == ("'w5' − 'w17'", "w5", "w17", 6)
    logits = run("gpt2").logits[0, -1]
    assert meta.value == pytest.approx(float(logits[ANSWER] - logits[WRONG]), rel=1e-12)
    assert graph("gpt2", wrong_answers=None).metadata.target.wrong_answer is None
    assert str(graph("gpt2")).startswith(f"AttributionGraph of 'w5' − 'w17' at 6: {meta.value:+.4f} logits, ")
    assert "pruned" not in str(graph("gpt2"))


def test_edges_go_from_what_is_written_before_to_what_reads_later() -> None:
    found = graph("gpt2")
    rows = found.nodes.to_dict("records")
    step = {"head": 1, "bias": 0, "remainder": 0, "mlp": 2, "embed": 0, "pos_embed": 0, "logit": 3}
    for source, target in zip(found.edge_source, found.edge_target, strict=True):
        of, to = rows[source], rows[target]
        assert of["pos"] <= to["pos"]
        assert to["kind"] == "head" or of["pos"] == to["pos"]
        assert (of["layer"], step[of["kind"]]) < (to["layer"], step[to["kind"]])


# --- pruning ---------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(TWO_MODELS),
    st.one_of(st.none(), st.integers(1, 900)),
    st.one_of(st.none(), st.floats(0, 0.7)),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_pruning_keeps_the_strongest_and_the_sums(name: str, max_edges: int | None, min_share: float | None) -> None:
    complete = graph_once(name)
    if max_edges is None and min_share is None:
        with pytest.raises(InputError, match="Give `max_edges`, `min_share`, `node_influence` or"):
            complete.prune()
        return
    pruned = complete.prune(max_edges=max_edges, min_share=min_share)
    assert_conserved(pruned, 1e-10)
    kept, before = edges(pruned), edges(complete)
    assert all(before[ends] == weight for ends, weight in kept.items())
    # Among the strongest, those from which the logit is reached over the others.
    strongest = sorted(before, key=lambda ends: -abs(before[ends]))[:max_edges]
    strongest = [ends for ends in strongest if abs(before[ends]) >= (min_share or 0) * abs(complete.metadata.value)]
    reached = {f"logit@{POSITIONS - 1}"}
    while found := {source for source, target in strongest if target in reached and source not in reached}:
        reached |= found
    assert set(kept) == {ends for ends in strongest if ends[1] in reached}
    assert set(pruned.nodes["id"]) == reached
    assert complete.nodes.loc[complete.nodes["id"].isin(reached), "id"].tolist() == pruned.nodes["id"].tolist()


_ONCE: dict[str, AttributionGraph] = {}


def graph_once(name: str) -> AttributionGraph:
    if name not in _ONCE:
        _ONCE[name] = graph(name)
    return _ONCE[name]


def test_pruning_twice_keeps_what_was_cut_before() -> None:
    complete = graph("gpt2")
    twice = complete.prune(max_edges=200).prune(min_share=0.02)
    assert_conserved(twice, 1e-10)
    assert 0 < len(twice.edge_weight) < len(complete.prune(max_edges=200).edge_weight)
    pruning = dict(twice.metadata.pruning or {})
    assert 0 < pruning.pop("influence_kept") < 1
    assert pruning.pop("logit_kept") != complete.metadata.value
    assert pruning == {
        "nodes_before": len(complete.nodes),
        "edges_before": len(complete.edge_weight),
        "max_edges": 200,
        "min_share": 0.02,
    }
    assert f"pruned from {len(complete.nodes)} nodes and {len(complete.edge_weight)} edges" in str(twice)
    assert not complete.nodes[["rest_in", "rest_out"]].any(axis=None)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({}, "Give `max_edges`, `min_share`, `node_influence` or"),
        ({"max_edges": 0}, "`max_edges` must be at least 1. Got 0"),
        ({"min_share": -0.1}, "`min_share` must be at least 0, and finite. Got -0.1"),
        ({"min_share": float("nan")}, "`min_share` must be at least 0, and finite. Got nan"),
        ({"min_share": float("inf")}, "`min_share` must be at least 0, and finite. Got inf"),
        ({"min_share": "much"}, "`min_share` must be a number. Got 'much'"),
        ({"max_edges": 10.5}, "`max_edges` must be an integer. Got 10.5"),
    ],
)
def test_pruning_to_nothing_is_refused(types_unchecked: None, settings_: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        graph_once("gpt2").prune(**settings_)


def test_numpys_numbers_are_settings_like_others(types_unchecked: None, tmp_path: Path) -> None:
    settings_ = {"max_edges": np.int64(50), "min_share": np.float32(0.25), "edge_influence": np.float64(0.875)}
    found = graph_once("gpt2").prune(**settings_).select(layers=np.int64(1))
    wanted = graph_once("gpt2").prune(max_edges=50, min_share=0.25, edge_influence=0.875).select(layers=1)
    loaded = AttributionGraph.load(found.save(tmp_path / "graph.json"))
    assert loaded.metadata.pruning == wanted.metadata.pruning
    assert loaded.edges.equals(wanted.edges)


# --- what goes in, what comes out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TWO_MODELS)
def test_every_kind_of_cache_gives_the_same_graph(name: str) -> None:
    model, tokens, _, theirs = run(name)
    expected = graph(name)
    without_batch = run_on(model, tokens, remove_batch_dim=True).cache
    for cache in (theirs, ActivationCache(theirs.cache_dict, model), dict(theirs.cache_dict), without_batch):
        found = attribution_graph(cache, model, ANSWER, wrong_answers=WRONG)
        assert found.nodes.equals(expected.nodes)
        assert found.metadata == expected.metadata
        for mine, yours in zip(_arrays(found), _arrays(expected), strict=True):
            assert np.array_equal(mine, yours)


def _arrays(found: AttributionGraph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return found.edge_source, found.edge_target, found.edge_weight


def test_networkx_holds_the_same_graph() -> None:
    found = graph_once("gpt2").prune(max_edges=97)
    digraph = found.to_networkx()
    assert nx.is_directed_acyclic_graph(digraph)
    assert {(source, target): data["weight"] for source, target, data in digraph.edges(data=True)} == edges(found)
    for row in found.nodes.to_dict("records"):
        assert digraph.nodes[row.pop("id")] == row
    assert digraph.graph["model"] == "gpt2"
    assert digraph.graph["target"]["answer"] == "w5"
    assert [token["text"] for token in digraph.graph["tokens"]] == found.nodes.groupby("pos")["token"].first().tolist()
    in_degrees = Counter(target for _, target in edges(found))
    assert dict(found.edges.groupby("target", observed=True).size()) == dict(in_degrees)


@pytest.mark.parametrize(
    ("prompts", "answers", "message"),
    [
        (PROMPTS, ANSWER, f"one answer to one prompt. Got {PROMPTS} prompts and 1 answers"),
        (1, [5, 7, 11], "one answer to one prompt. Got 1 prompts and 3 answers"),
    ],
)
def test_several_prompts_or_answers_are_refused(prompts: int, answers: Any, message: str) -> None:
    model, _, _, cache = run("gpt2", prompts=prompts)
    with pytest.raises(InputError, match=message):
        attribution_graph(cache, model, answers)


def test_the_cache_is_checked_first_unless_told_not_to() -> None:
    model, _, _, cache = run("gpt2")
    broken = {**cache.cache_dict, "blocks.1.attn.hook_pattern": 0.5 * cache["pattern", 1]}
    with pytest.raises(CacheError, match=r"attn.hook_z of layer 1"):
        attribution_graph(broken, model, ANSWER)
    assert attribution_graph(broken, model, ANSWER, check=False).metadata.completeness_error > 1e-3


@pytest.mark.parametrize(
    "activation",
    ["attn.hook_z", "attn.hook_pattern", "hook_mlp_out", "mlp.hook_pre", "ln1.hook_scale", "ln2.hook_scale"],
)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_what_is_wrong_in_a_cache_shows_at_its_nodes(name: str, activation: str) -> None:
    """Also where the leaves sum to the logit all the same, as they do whatever ``z`` is said to be."""
    model, _, _, cache = run(name)
    wrong = 1.5 * cache[f"blocks.0.{activation}"]
    broken = ActivationCache({**cache.cache_dict, f"blocks.0.{activation}": wrong}, model)
    found = attribution_graph(broken, model, ANSWER, check=False)
    into, _ = flow(found)
    attribution = found.nodes["attribution"].to_numpy(float)
    inner = found.nodes["kind"].isin(INNER).to_numpy()
    imbalance = np.abs(into - attribution)[inner].max() / np.abs(attribution[inner]).max()
    leaves = abs(attribution[~inner].sum() / found.metadata.value - 1)
    assert found.metadata.completeness_error == pytest.approx(max(imbalance, leaves))
    assert found.metadata.completeness_error > 1e-3


# --- a circuit that is known -----------------------------------------------------------------------------------------


def test_the_strongest_path_of_a_hand_built_induction_circuit() -> None:
    """Layer 0 copies each token's predecessor beside it; layer 1 attends to where that is the last token."""
    n_vocab, n_pos, d_head = VOCAB, 17, 127
    token, position, previous = 0, n_vocab, n_vocab + n_pos
    sizes = {"n_positions": n_pos, "n_embd": d_head, "n_layer": 2, "n_head": 1, "n_inner": 13}
    hf = GPT2LMHeadModel(GPT2Config(vocab_size=n_vocab, bos_token_id=0, eos_token_id=0, **sizes)).double().eval()
    with torch.no_grad():
        for parameter in hf.parameters():
            parameter.zero_()
        for norm in (*(n for block in hf.transformer.h for n in (block.ln_1, block.ln_2)), hf.transformer.ln_f):
            norm.weight.fill_(1)
        words, places = torch.arange(n_vocab), torch.arange(n_pos)
        hf.transformer.wte.weight[words, token + words] = 1
        hf.transformer.wpe.weight[places, position + places] = 1
        copies, inducts = (block.attn for block in hf.transformer.h)
        # Queries look for the position before their own, keys offer their own; values carry the token.
        copies.c_attn.weight[position + places[1:], places[:-1]] = 9
        copies.c_attn.weight[position + places, d_head + places] = 9
        copies.c_attn.weight[token + words, 2 * d_head + words] = 1
        copies.c_proj.weight[words, previous + words] = 1
        # Queries look for their own token, keys offer their predecessor; values carry the token to the logit.
        inducts.c_attn.weight[token + words, words] = 9
        inducts.c_attn.weight[previous + words, d_head + words] = 9
        inducts.c_attn.weight[token + words, 2 * d_head + words] = 1
        inducts.c_proj.weight[words, token + words] = 3
    model = boot(hf, "induction")
    tokens = torch.tensor([[0, 31, 7, 23, 11, 41, 5, 31, 7, 23]])
    ran = run_on(model, tokens)
    assert ran.logits[0, -1].argmax() == 11
    found = attribution_graph(ran.cache, model, 11, wrong_answers=41)
    path = found.prune(max_edges=2)
    assert set(edges(path)) == {("embed@4", "L1H0@9"), ("L1H0@9", "logit@9")}
    assert path.edge_weight.min() > 0.5 * found.metadata.value
    # Without the copies of layer 0, there is nothing to attend to.
    with torch.no_grad():
        hf.transformer.h[0].attn.c_proj.weight.zero_()
    model = boot(hf, "no induction")
    found = attribution_graph(run_on(model, tokens).cache, model, 11, wrong_answers=41)
    assert found.metadata.value < 0.2 * path.metadata.value
