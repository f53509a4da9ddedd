"""Two graphs side by side: every node, every edge, and differences that add up to that of the logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flows import at_random, by_hand
from models import TWO_MODELS, run
from test_pruning import EDGES
from typer.testing import CliRunner

from recursive_dla import AttributionGraph, attribution_graph, compare
from recursive_dla.cli import app
from recursive_dla.comparison import GraphDifference
from recursive_dla.errors import InputError

OTHER = {
    ("L2H0@3", "logit@3"): 5.0,
    ("L1MLP@3", "logit@3"): -2.5,
    ("embed@2", "L2H0@3"): 2.0,
    ("embed@3", "L2H0@3"): 3.0,
    ("embed@3", "L1MLP@3"): -2.5,
}


def other() -> AttributionGraph:
    return by_hand(OTHER, texts="The| Rhine| is| here")


def rows(frame: pd.DataFrame, *keys: str) -> dict[Any, tuple[float, float, float]]:
    """The numbers of a table by some of its columns."""
    numbers = zip(frame["a"], frame["b"], frame["difference"], strict=True)
    names = frame[list(keys)].astype(object).where(frame[list(keys)].notna(), None)
    index = names.itertuples(index=False, name=None) if len(keys) > 1 else names.iloc[:, 0]
    return dict(zip(index, numbers, strict=True))


def assert_adds_up(found: GraphDifference) -> None:
    leaves = found.leaves
    assert leaves["difference"].sum() == pytest.approx(found.b.value - found.a.value, rel=1e-9)
    assert leaves["a"].sum() == pytest.approx(found.a.value, rel=1e-9)
    for table in (found.nodes, found.edges):
        assert (table["difference"] == table["b"] - table["a"]).all()
        assert (table["difference"].abs().diff().dropna() <= 0).all()


def test_by_component() -> None:
    found = compare(by_hand(EDGES), other())
    assert_adds_up(found)
    assert (found.by, found.value) == ("component", -1.5)
    assert rows(found.nodes, "component") == {
        "logit": (4, 2.5, -1.5), "L2H0": (4, 5, 1), "L1MLP": (-2, -2.5, -0.5), "L1H1": (1, 0, -1),
        "embed": (5, 2.5, -2.5), "L1H0": (5, 0, -5), "L0MLP": (3, 0, -3), "L0.b": (-1, 0, 1), "L0H0": (2, 0, -2),
    }  # fmt: skip
    assert found.nodes[["pos_a", "pos_b"]].isna().all(axis=None)
    between = rows(found.edges, "source", "target")
    assert between["embed", "L0H0"] == (2, 0, -2)
    assert between["embed", "L2H0"] == (0, 5, 5)
    assert between["L2H0", "logit"] == (4, 5, 1)


def test_by_a_mapping_of_positions() -> None:
    found = by_hand(EDGES).compare(other(), align={1: 1, 4: 3, 2: 0})
    assert_adds_up(found)
    assert found.by == "mapping"
    table = rows(found.nodes, "component", "pos_a", "pos_b")
    assert table["L2H0", 4, 3] == (4, 5, 1)
    assert table["embed", 4, 3] == (-1, 0.5, 1.5)
    # What corresponds to nothing stands alone.
    assert table["embed", None, 2] == (0, 2, 2)
    assert table["embed", 2, 0] == (3, 0, -3)
    ends = ["source", "target", "source_pos_a", "source_pos_b", "target_pos_a", "target_pos_b"]
    between = rows(found.edges, *ends)
    assert between["embed", "L2H0", None, 2, 4, 3] == (0, 2, 2)
    assert between["L2H0", "logit", 4, 3, 4, 3] == (4, 5, 1)
    assert "embed at 4 · is / 3 · here" not in str(found)
    assert "L2H0 at 4 ·is / 3 ·here" in str(found)


@pytest.mark.parametrize("align", ["position", "component", None, {0: 0, 1: 3, 3: 2, 4: 4}], ids=str)
def test_random_networks_add_up(align: Any) -> None:
    one, two = at_random(3), at_random(4)
    assert_adds_up(compare(one, two, align=align))
    back = compare(two, one, align={to: of for of, to in align.items()} if isinstance(align, dict) else align)
    assert back.nodes["difference"].abs().tolist() == compare(one, two, align=align).nodes["difference"].abs().tolist()
    pruned = compare(one.prune(max_edges=50), two.group("layer"), align=align)
    assert_adds_up(pruned)
    assert abs(pruned.leaves.iloc[-1]["a"]) > 1e-3
    assert abs(compare(one, two, align=align).leaves.iloc[-1]["a"]) < 1e-9


@pytest.mark.parametrize("name", TWO_MODELS)
def test_two_answers_of_a_model(name: str) -> None:
    model, _, logits, cache = run(name)
    one, two = (attribution_graph(cache, model, answer) for answer in (5, 17))
    found = compare(one, two)
    assert_adds_up(found)
    assert (found.by, found.value) == ("position", pytest.approx(float(logits[0, -1, 17] - logits[0, -1, 5])))
    whole = attribution_graph(cache, model, 17, wrong_answers=5)
    expected = dict(zip(whole.nodes["id"], whole.nodes["attribution"], strict=True))
    for row in found.nodes.itertuples():
        assert row.difference == pytest.approx(expected.get(f"{named(row)}@{row.pos_a}", 0.0), abs=1e-9)
    direct = found.edges.set_index(["source", "target", "source_pos_a", "target_pos_a"])["difference"]
    for source, target, weight in whole.edges.itertuples(index=False):
        (one_name, one_pos), (two_name, two_pos) = source.split("@"), target.split("@")
        assert direct[one_name, two_name, int(one_pos), int(two_pos)] == pytest.approx(weight, abs=1e-9)


def named(row: Any) -> str:
    return str(row.component)


def test_a_graph_does_not_differ_from_itself() -> None:
    found = compare(at_random(5), at_random(5))
    assert not found.nodes["difference"].any()
    assert not found.edges["difference"].any()
    assert found.nodes["leaf"].sum() == at_random(5).is_leaf.sum()


@pytest.mark.parametrize(
    ("align", "message"),
    [
        ("position", "needs prompts of the same length. Got 5 and 4 tokens; give align='component'"),
        ("token", "must be 'position', 'component' or a mapping of positions. Got 'token'"),
        ({5: 0}, "names position 5 of the first prompt, which has 5 tokens"),
        ({0: -1}, "names position -1 of the second prompt, which has 4 tokens"),
        ({0: 1, 1: 1}, "maps two positions to the same one"),
    ],
    ids=str,
)
def test_what_cannot_be_aligned_is_refused(types_unchecked: None, align: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(by_hand(EDGES), other(), align=align)


def test_models_of_other_sizes_are_refused() -> None:
    model, _, _, cache = run("gpt2")
    with pytest.raises(InputError, match="gpt2 with 3 layers of 2 heads and by hand with 5 layers of 3 heads"):
        compare(attribution_graph(cache, model, 5), by_hand(EDGES))


def test_what_it_prints() -> None:
    text = str(compare(by_hand(EDGES), other()))
    assert text.splitlines()[0] == (
        "GraphDifference ' Paris' at 3 − ' Paris' at 4: +2.5000 − (+4.0000) = -1.5000 logits"
    )
    assert text.splitlines()[2].split() == ["L1H0", "+5.000", "→", "+0.000", "-5.000"]
    page = compare(by_hand(EDGES), other())._repr_html_()
    assert "L1H0" in page
    assert "−5.000" in page


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, types_unchecked: None) -> list[str]:
    paths = by_hand(EDGES).save(tmp_path / "a.json"), other().save(tmp_path / "b.json")
    return list(map(str, paths))


def test_the_command_prints_tables(files: list[str]) -> None:
    done = CliRunner().invoke(app, ["diff", *files, "--top", "3"], env={"COLUMNS": "120"})
    assert done.exit_code == 0
    assert "B − A       -1.5000 logits, by component" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["L1H0", "+5.000", "+0.000", "-5.000"] in lines
    assert ["embed", "+5.000", "+2.500", "-2.500"] in lines
    assert ["L1H0", "→", "L2H0", "+6.000", "+0.000", "-6.000"] in lines


def test_the_command_prints_json(files: list[str]) -> None:
    done = CliRunner().invoke(app, ["diff", *files, "--json", "--top", "50"])
    document = json.loads(done.stdout)
    assert document["difference"] == -1.5
    assert document["align"] == "component"
    assert document["a"]["prompt"] == "The Eiffel tower is"
    assert np.isclose(sum(row["difference"] for row in document["leaves"]), -1.5)
    assert {"name": "L1H0", "a": 5.0, "b": 0.0, "difference": -5.0} in document["nodes"]
    assert all(row["name"] not in ("embed", "logit") for row in document["nodes"])


def test_the_command_refuses_what_does_not_align(files: list[str]) -> None:
    done = CliRunner().invoke(app, ["diff", *files, "--align", "position"])
    assert isinstance(done.exception, InputError)
    assert "same length" in str(done.exception)
