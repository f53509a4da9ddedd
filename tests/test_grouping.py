"""Groups of nodes: what flows through them, who is in them, and which cannot be made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from flows import assert_flows, at_random, by_hand
from models import TWO_MODELS, run
from test_pruning import EDGES, edges

from recursive_dla import AttributionGraph, attribution_graph
from recursive_dla.attribution.provenance import Token
from recursive_dla.errors import InputError
from recursive_dla.graphs.data import Member
from recursive_dla.graphs.grouping import word_spans


def attributions(graph: AttributionGraph) -> dict[str, float]:
    return dict(zip(graph.nodes["id"], graph.nodes["attribution"], strict=True))


def test_a_group_by_hand() -> None:
    graph = by_hand(EDGES)
    grouped = graph.group({"early": ["L0H0@2", "L0MLP@2", "L1H0@4"], "words": ["embed@1", "embed@2"]})
    assert_flows(grouped)
    assert edges(grouped) == {
        ("L2H0@4", "logit@4"): 4,
        ("L1MLP@4", "logit@4"): -2,
        ("L1H1@4", "logit@4"): 1,
        ("embed@4", "logit@4"): 1,
        ("early", "L2H0@4"): 6,
        ("L0MLP@4", "L2H0@4"): -2,
        ("early", "L1MLP@4"): -1,
        ("L0.b@4", "L1MLP@4"): -1,
        ("early", "L1H1@4"): 1,
        ("embed@4", "L0MLP@4"): -2,
        ("words", "early"): 6,
    }
    # 5 + 2 + 5 of the members, less 4 + 1 + 1 from member to member.
    assert attributions(grouped)["early"] == 6
    row = grouped.nodes.set_index("id").loc["early"]
    assert row[["kind", "component", "layer", "head", "pos", "token"]].tolist() == ["group", "early", 1, -1, 4, " is"]
    members = grouped.metadata.groups
    assert members["words"] == (
        Member("embed@2", "embed", "embed", -1, -1, 2, 3.0),
        Member("embed@1", "embed", "embed", -1, -1, 1, 3.0),
    )
    assert [member.attribution for member in members["early"]] == [5, 5, 2]
    assert grouped.nodes.loc[grouped.is_leaf, "id"].tolist() == ["embed@4", "L0.b@4", "words"]
    assert "5 nodes grouped into 2" in str(grouped)


def test_groups_by_name_by_a_function_and_one_after_another() -> None:
    graph = by_hand(EDGES)
    by_name = graph.group({"firsts": "L0MLP", "words": ["embed"]})
    assert [member.id for member in by_name.metadata.groups["firsts"]] == ["L0MLP@4", "L0MLP@2"]
    by_function = graph.group(lambda row: {"mlp": "firsts", "embed": "words"}.get(row.kind) if row.layer < 1 else None)
    assert edges(by_function) == edges(by_name)
    assert by_function.metadata.groups == by_name.metadata.groups
    nested = graph.group({"firsts": "L0MLP@2"}).group({"all": ["firsts", "L0MLP@4"], "words": "embed"})
    assert {frozenset(member.id for member in group) for group in nested.metadata.groups.values()} == {
        frozenset({"L0MLP@2", "L0MLP@4"}), frozenset({"embed@1", "embed@2", "embed@4"})
    }  # fmt: skip
    assert_flows(nested)
    for max_edges, left in ((2, set()), (3, {"all"}), (5, {"all", "words"})):
        pruned = nested.prune(max_edges=max_edges)
        assert set(pruned.metadata.groups) == set(pruned.nodes["id"]) & {"all", "words"} == left


@pytest.mark.parametrize(
    ("by", "ids"),
    [
        # Alone, a node keeps its name.
        ("layer", {"L1.heads@4", "L0H0@2", "L2H0@4", "L0MLP@2", "embed@1"}),
        ("word", {"embed@1-2", "L0MLP@2", "L1H0@4", "embed@4"}),
        ("position", {"inner@2", "inner@4", "embed@1", "embed@2", "L0.b@4"}),
    ],
)
def test_groups_by_rule(by: str, ids: set[str]) -> None:
    grouped = by_hand(EDGES).group(by)
    assert_flows(grouped)
    assert ids <= set(grouped.nodes["id"])
    assert attributions(grouped)["logit@4"] == 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["layer", "word", "position"])
def test_edges_between_groups_are_sums(by: str, seed: int) -> None:
    graph = at_random(seed)
    grouped = graph.group(by)
    owner = {member.id: name for name, group in grouped.metadata.groups.items() for member in group}
    expected: dict[tuple[str, str], float] = {}
    for (source, target), weight in edges(graph).items():
        ends = owner.get(source, source), owner.get(target, target)
        if ends[0] != ends[1]:
            expected[ends] = expected.get(ends, 0) + weight
    assert edges(grouped) == pytest.approx(expected, abs=1e-12)
    assert {"layer": "L3.heads@4", "word": "L2H1@1-2", "position": "constants@3"}[by] in grouped.metadata.groups
    assert nx.is_directed_acyclic_graph(grouped.to_networkx())
    assert set(owner) | set(grouped.nodes["id"]) >= set(graph.nodes["id"])


@pytest.mark.parametrize("by", ["layer", "word", "position"])
@pytest.mark.parametrize("name", TWO_MODELS)
def test_groups_of_a_model_are_saved_and_loaded(name: str, by: str, tmp_path: Path) -> None:
    model, _, _, cache = run(name)
    grouped = attribution_graph(cache, model, 5, wrong_answers=17).prune(max_edges=301)
    if by == "word":
        # The tokens of the tiny models have no spaces: all are one word.
        assert len(grouped.group(by).nodes) == grouped.nodes["id"].str.split("@").str[0].nunique()
    grouped = grouped.group(by)
    assert_flows(grouped)
    loaded = AttributionGraph.load(grouped.save(tmp_path / "graph.json"))
    assert loaded.metadata == grouped.metadata
    assert loaded.nodes.equals(grouped.nodes)
    assert loaded.save(tmp_path / "again.json").read_bytes() == (tmp_path / "graph.json").read_bytes()
    assert np.array_equal(loaded.is_leaf, grouped.is_leaf)


@pytest.mark.parametrize(
    "groups", [3, {"all": 3}, {"all": []}, {"all": [{}]}, {"all": [{"id": 5}]}, [["all"]]], ids=str
)
def test_members_that_are_none_are_refused(groups: Any, tmp_path: Path, types_unchecked: None) -> None:
    path = by_hand(EDGES).group({"all": "embed"}).save(tmp_path / "graph.json")
    document = json.loads(path.read_text())
    assert [member["head"] for member in document["metadata"]["groups"]["all"]] == [None] * 3
    document["metadata"]["groups"] = groups
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="does not hold an attribution graph"):
        AttributionGraph.load(path)


def test_words() -> None:
    texts = ["<|im_start|>", "Hello", ",", " wor", "ld", "\n", "<|im_end|>", "x", "<b c>"]
    spans = word_spans(Token(pos, pos, text) for pos, text in enumerate(texts))
    assert spans == [(0, 0), (1, 2), (1, 2), (3, 4), (3, 4), (5, 5), (6, 6), (7, 8), (7, 8)]
    with pytest.raises(InputError, match="texts are not known"):
        word_spans([Token(0, None, "(0)")])


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("heads", "Unknown grouping 'heads'. Use one of 'layer', 'word', 'position', a mapping"),
        ({"one": ["embed@1", "L0H0@2"]}, r"'one' mixes leaves \('embed@1'\) with nodes that read \('L0H0@2'\)"),
        ({"one": ["L2H0@4", "logit@4"]}, "'one' holds the logit, which stays by itself"),
        ({"one": "embed@1", "two": "embed"}, "must not overlap: 'embed@1' is in 'one' and in 'two'"),
        ({"embed@4": ["embed@1", "embed@2"]}, "cannot be called 'embed@4'"),
        ({"one": []}, "'one' is empty"),
        ({"one": ["L7H0@1"]}, "no node 'L7H0@1'"),
        ({"one": ["L2H0@4", "L0H0@2"]}, "in a circle: 'one' → 'L1H0@4' → 'one'. Take what lies between"),
        ({"one": ["L2H0@4", "L0MLP@2"], "two": ["L1H0@4"]}, "in a circle: 'one' → 'two' → 'one'"),
        (lambda row: 5, "must return a group's name or None. Got 5"),
    ],
)
def test_groups_that_cannot_be_are_refused(types_unchecked: None, by: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        by_hand(EDGES).group(by)


def test_a_longer_circle_is_named() -> None:
    with pytest.raises(InputError, match=r"in a circle: 'one' → 'L0MLP@2' → 'L1H0@4' → 'one'\. Take what lies"):
        by_hand({ends: weight for ends, weight in EDGES.items() if ends != ("L0H0@2", "L1H0@4")}).group(
            {"one": ["L0H0@2", "L2H0@4"]}
        )
