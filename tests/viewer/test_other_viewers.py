"""The file for other programs' viewers, in a page that goes through it as they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from graphs import graph, hostile

from recursive_dla import AttributionGraph
from recursive_dla.output.files.circuit_viewers import influence_shares

PAGE = '<!doctype html><meta charset="utf-8"><div id="graph"></div><script src="walk.js"></script>'
ORIGIN = "http://viewer.test"


@pytest.fixture
def walked(chromium: Any, tmp_path: Path) -> Any:
    """Opens a graph's file in the page; it may ask for nothing but the files beside it, nor complain."""
    context = chromium.new_context()

    def walk(one: AttributionGraph, by_node: bool, threshold: float = 1.0) -> tuple[list[dict[str, Any]], Any]:
        one.save(tmp_path / "mary.circuit.json")
        page, complaints = context.new_page(), []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append("a label made code run"))

        def answer(route: Any) -> None:
            name = route.request.url.removeprefix(f"{ORIGIN}/")
            if name == "":
                route.fulfill(body=PAGE, content_type="text/html")
            elif name == "walk.js":
                route.fulfill(path=Path(__file__).with_name(name), content_type="text/javascript")
            elif (tmp_path / name).is_file():
                route.fulfill(path=tmp_path / name, content_type="application/json")
            else:
                complaints.append(f"asked for {route.request.url}")
                route.fulfill(status=404)

        page.route("**/*", answer)
        page.goto(f"{ORIGIN}/")
        nodes = page.evaluate(f"open({str(by_node).lower()}, {threshold})")
        assert not complaints, complaints
        return nodes, page

    yield walk
    context.close()


@pytest.mark.parametrize("by_node", [False, True])
@pytest.mark.parametrize("which", [graph, hostile, lambda: graph("llama-biased")], ids=["gpt2", "hostile", "llama"])
def test_every_node_is_found_labelled_and_linked(walked: Any, which: Any, by_node: bool) -> None:
    one = which()
    nodes, page = walked(one, by_node)
    assert len(nodes) == len(one.nodes)
    assert len({node["key"] for node in nodes}) == len(nodes)
    ids = one.nodes["id"].tolist()
    for node, name, kind, layer in zip(nodes, ids, one.nodes["kind"], one.nodes["layer"], strict=True):
        row = ids.index(name)
        assert [weight for weight, _ in node["inputs"]] == one.edge_weight[one.edge_target == row].tolist()
        assert node["outputs"] == (one.edge_source == row).sum()
        if node["inputs"]:
            assert sum(abs(part) for _, part in node["inputs"]) == pytest.approx(1)
        if kind == "logit":
            assert node["share"] == pytest.approx(one.metadata.target.probability, abs=5e-4)
            assert node["stream"] > layer - 1
        elif kind not in ("embed", "pos_embed"):
            assert node["stream"] == layer
            assert node["label"].startswith(name.rsplit("@", 1)[0] + " at ")
    assert page.locator("#graph span").count() == len(nodes)
    assert page.locator("#graph span *").count() == 0


def test_a_threshold_shows_the_most_influential(walked: Any) -> None:
    shares = influence_shares(graph())
    nodes, page = walked(graph(), True, threshold=0.5)
    assert [node["influence"] for node in nodes] == shares.tolist()
    assert 1 < page.locator("#graph span").count() == (shares <= 0.5).sum() < len(nodes)
