"""The slider, the filters and the search, held against a count of their own."""

from __future__ import annotations

import pytest
import synthetic
import tiny


def kept_and_reached(document, share):
    """The strongest edges that hold ``share`` of all weight, and the nodes they lead to the logit from."""
    edges = sorted(document["edges"], key=lambda edge: -abs(edge["weight"]))
    wanted = share * sum(abs(edge["weight"]) for edge in edges)
    kept, held = [], 0.0
    for edge in edges:
        if share < 1 and held >= wanted:
            break
        kept.append(edge)
        held += abs(edge["weight"])
    reached = {node["id"] for node in document["nodes"] if node["kind"] == "logit"}
    while True:
        more = {edge["source"] for edge in kept if edge["target"] in reached} - reached
        if not more:
            return kept, reached
        reached |= more


def names(edges):
    return sorted((edge["source"], edge["target"]) for edge in edges)


def drawn(explorer):
    shown = explorer.shown()
    return sorted((source, target) for source, target, _ in shown["edges"]), set(shown["items"])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 0.99, 1.0])
def test_the_slider_keeps_the_strongest_edges(explore, share):
    document = synthetic.graph(n_nodes=300, n_edges=2000)
    explorer = explore(document)
    explorer.page.locator("#share").fill(str(round(1000 * share)))
    kept, reached = kept_and_reached(document, share)
    live = [edge for edge in kept if edge["target"] in reached]
    edges, items = drawn(explorer)
    assert edges == names(live)
    assert items == reached
    counts = explorer.text("#counts").split("\n")
    assert f"{len(live):,} of 2,000" in counts
    assert f"{len(reached):,} of 300" in counts
    assert f"{100 * share:.1f}%" in explorer.text("#share-value")


def test_parts_that_miss_the_logit_show_on_request(explore):
    document = synthetic.graph(n_nodes=300, n_edges=2000)
    explorer = explore(document, "#share=0.6")
    explorer.page.get_by_label("Only what leads to the logit").uncheck()
    kept, reached = kept_and_reached(document, 0.6)
    edges, items = drawn(explorer)
    assert edges == names(kept)
    assert items == reached | {end for edge in kept for end in (edge["source"], edge["target"])}
    leading = sum(edge["target"] in reached for edge in kept)
    assert leading < len(kept)
    assert f"{leading:,} edges, {len(reached):,} nodes" in explorer.text("#counts").split("\n")


def test_a_large_graph_opens_with_its_strongest_edges(explore):
    explorer = explore(synthetic.graph(n_nodes=600, n_edges=6000))
    assert 0 < explorer.run("() => explorer.session.view().shown.edgeCount") <= 620
    assert explorer.fragment() == ""
    assert explore(tiny.graph()).state["share"] == 1


def test_the_slider_is_moved_by_keys(explore):
    explorer = explore(tiny.graph())
    explorer.page.focus("#share")
    explorer.press("Home")
    assert explorer.state["share"] == 0
    assert drawn(explorer) == ([], {"logit@3"})
    explorer.press("ArrowRight", "ArrowRight")
    assert explorer.state["share"] == 0.002
    assert explorer.shown()["edges"] == [["L1H0@3", "logit@3", 7]]


def test_filter_by_kind(explore):
    explorer = explore(tiny.graph())
    explorer.page.locator("#kinds").get_by_role("button", name="Token embedding").click()
    assert not any(name.startswith("embed") for name in explorer.shown()["items"])
    assert len(explorer.shown()["items"]) == 7
    explorer.page.get_by_role("button", name="Reset").click()
    assert len(explorer.shown()["items"]) == 11
    assert explorer.run("() => document.activeElement.closest('#kinds') !== null")


def test_filter_by_layers(explore):
    explorer = explore(tiny.graph())
    explorer.page.get_by_label("Lowest layer").fill("1")
    explorer.press("Tab")
    assert set(explorer.shown()["items"]) == {"L1H0@3", "L1MLP@3", "logit@3"}
    explorer.page.get_by_label("Highest layer").fill("1")
    explorer.press("Tab")
    assert set(explorer.shown()["items"]) == {"L1H0@3", "L1MLP@3"}
    explorer.page.get_by_label("Highest layer").fill("99")
    explorer.press("Tab")
    assert explorer.page.get_by_label("Highest layer").input_value() == "2"


def test_filter_by_head(explore):
    explorer = explore(tiny.graph())
    explorer.page.get_by_text("Heads", exact=True).click()
    explorer.page.locator("#heads").get_by_role("button", name="1", exact=True).click()
    assert {name for name in explorer.shown()["items"] if "H" in name} == {"L0H1@1"}
    assert "only 1" in explorer.text("#heads-note")


def test_filter_by_token(explore):
    explorer = explore(tiny.graph())
    explorer.page.get_by_text("Tokens", exact=True).click()
    chips = explorer.page.locator("#tokens").get_by_role("button")
    assert chips.all_inner_texts() == ["·a\n0", "·b\n1", "·a\n2", "·c\n3"]
    chips.nth(2).click()
    assert set(explorer.shown()["items"]) == {"embed@2", "L0H2@2"}
    chips.nth(0).click()
    assert set(explorer.shown()["items"]) == {"embed@0", "L0MLP@0", "embed@2", "L0H2@2"}


def test_nothing_left_says_so(explore):
    explorer = explore(tiny.graph(), "#hide=logit,head,mlp,embed")
    assert explorer.page.locator("#empty").is_visible()
    explorer.page.focus("#walker")
    assert explorer.text("#walker-node") == "No node is shown"
    explorer.press("ArrowUp", "Enter")


def test_pins_and_the_selection_stay_in_sight(explore):
    explorer = explore(tiny.graph(), "#share=0&pins=L0H2@2&sel=embed@1")
    assert set(explorer.shown()["items"]) == {"logit@3", "L0H2@2", "embed@1"}


def test_the_compact_layout_leaves_no_room_for_the_hidden(explore):
    explorer = explore(synthetic.graph(tokens=[" x"] * 200, n_nodes=900, n_edges=5000), "#share=0.3")
    width = "() => explorer.session.view().layout.width"
    before = explorer.run(width)
    explorer.page.get_by_label("Compact").check()
    assert explorer.run(width) < before / 2
    explorer.page.locator("#share").fill("1000")
    assert explorer.run(width) == before


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("L1H0", {"L1H0@3"}),
        ("l0mlp@3", {"L0MLP@3"}),
        ("·b", {"embed@1", "L0H1@1"}),
        ("mlp c", {"L0MLP@3", "L1MLP@3"}),
        ("token embedding", {"embed@0", "embed@1", "embed@2", "embed@3"}),
        ("nothing like it", set()),
    ],
)
def test_search(explore, query, found):
    explorer = explore(tiny.graph())
    explorer.page.locator("#search").fill(query)
    result = set(explorer.run("() => explorer.session.view().found.map((node) => node.id)"))
    assert result == found
    assert explorer.text("#found-count") == f"{len(result)} node{'' if len(result) == 1 else 's'} found"
    assert explorer.page.locator("#found [role=option]").count() == len(result)
    rings = explorer.run("() => explorer.stage.scene().rings.filter(([, style]) => style === 'match').length")
    assert rings == len(result)


def test_search_by_keys(explore):
    explorer = explore(tiny.graph(), "#share=0.4")
    explorer.press("/")
    explorer.page.keyboard.type("embed")
    explorer.press("ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp")
    field = explorer.page.locator("#search")
    active = explorer.page.locator(f"#{field.get_attribute('aria-activedescendant')}")
    assert active.get_attribute("aria-selected") == "true"
    assert active.get_attribute("aria-label") == "embed, token 3 ·c, +2.250 logits"
    explorer.press("Enter")
    assert explorer.selected == "embed@3"
    assert "embed@3" in explorer.shown()["items"]
    explorer.press("Escape")
    assert field.input_value() == ""
    assert not explorer.page.locator("#found").is_visible()
