"""A model whose circuits were written into it by hand: breakdown, graph, tree and paths must all find them."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from induction import COPIED, DIRECT, induction_model, repeated
from models import run_on

from recursive_dla import attribution_graph, attribution_tree, break_down, strongest_paths

SEEDS = range(5)


class Case(NamedTuple):
    """One random sequence: what the model should answer, where it stands, and how much each circuit gives."""

    model: Any
    cache: Any
    last: int
    answer: int
    source: int
    direct: float
    copied: float

    def explain(self, function: Any, **options: Any) -> Any:
        return function(self.cache, self.model, self.answer, **options)


@cache
def case(seed: int) -> Case:
    tokens = repeated(seed)
    model = induction_model()
    ran = run_on(model, tokens)
    last = tokens.shape[1] - 1
    previous = int((tokens[0, :last] == tokens[0, last]).nonzero()[0])
    answer = int(tokens[0, previous + 1])
    assert ran.logits[0, -1].argmax() == answer
    # What is attended to carries its token with weight one.
    attended = ran.cache["pattern", 1][0, :, last, previous + 1]
    copied = ran.cache["pattern", 0][0, 1, previous + 1, previous + 1]
    assert attended.min() > 0.9
    assert copied > 0.9
    return Case(
        *(model, ran.cache, last, answer, previous + 1),
        float(DIRECT * attended[0]),
        float(COPIED * attended[1] * copied),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_paths_find_both_circuits_and_what_they_carry(seed: int) -> None:
    known = case(seed)
    found = known.explain(strongest_paths, count=2)
    token = f"{found.tree.metadata.tokens[known.source].text!r}"
    assert found.table["path"].tolist() == [
        f"L1H0@{known.last} ← embed {token}@{known.source}",
        f"L1H1@{known.last} ← L0H1@{known.source} ← embed {token}@{known.source}",
    ]
    assert found.table["weight"].tolist() == pytest.approx([known.direct, known.copied], rel=1e-9)
    assert found.settled
    assert found.explained == pytest.approx(found.total, rel=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_tree_finds_them_level_by_level(seed: int) -> None:
    known = case(seed)
    tree = known.explain(attribution_tree, depth=None, min_share=0.05)
    assert tree.ended == "complete"
    assert tree.nodes.loc[tree.nodes["kind"] != "rest", "id"].tolist() == [
        f"logit@{known.last}",
        *(f"L1H0@{known.last}", f"L1H1@{known.last}"),
        f"embed@{known.source}",
        f"L0H1@{known.source}",
        f"embed@{known.source}",
    ]
    started = known.explain(attribution_tree, start=f"L1H1@{known.last}", depth=1, top_k=1)
    assert started.nodes["id"][1] == f"L0H1@{known.source}"
    assert started.nodes["share"][1] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_strongest_edges_of_the_graph_are_theirs(seed: int) -> None:
    known = case(seed)
    graph = known.explain(attribution_graph)
    pruned = graph.prune(max_edges=5)
    edges = pruned.edges.sort_values("weight", ascending=False)
    assert set(zip(edges["source"], edges["target"], strict=True)) == {
        (f"embed@{known.source}", f"L1H0@{known.last}"),
        (f"L1H0@{known.last}", f"logit@{known.last}"),
        (f"embed@{known.source}", f"L0H1@{known.source}"),
        (f"L0H1@{known.source}", f"L1H1@{known.last}"),
        (f"L1H1@{known.last}", f"logit@{known.last}"),
    }
    assert edges["weight"].tolist() == pytest.approx([known.direct] * 2 + [known.copied] * 3, rel=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_breakdown_of_the_induction_head_reads_the_token_itself(seed: int) -> None:
    known = case(seed)
    strongest = known.explain(break_down, sources="heads").strongest(count=2, sources=1)
    assert [found.label for found in strongest] == ["L1H0", "L1H1"]
    assert [found.sources[0][0] for found in strongest] == [
        {"src_pos": str(known.source), "src_comp": "embed"},
        {"src_pos": str(known.source), "src_comp": "L0H1"},
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_without_the_previous_token_head_there_is_no_induction(seed: int) -> None:
    """Its pattern is made by K-composition with L0H0, which carries nothing to the answer itself."""
    known = case(seed)
    model = induction_model()
    with torch.no_grad():
        model.blocks[0].attn.W_O[0].zero_()
    ran = run_on(model, repeated(seed))
    graph = attribution_graph(ran.cache, model, known.answer)
    assert graph.metadata.value < 0.5 * (known.direct + known.copied)
    tree = known.explain(attribution_tree, depth=None, top_k=None, min_share=0.0)
    assert not tree.nodes["id"].str.startswith("L0H0").any()
