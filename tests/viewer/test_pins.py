"""Pins, groups made of them, and going back and forth in what was done."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import synthetic
import tiny

PINS = ["L0MLP@3", "L1MLP@3"]


def saved(explorer, button):
    with explorer.page.expect_download() as download:
        explorer.page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_pins_are_listed_shown_and_dropped(explore):
    explorer = explore(tiny.graph(), "#pins=L0H1@1,embed@0")
    pins = explorer.page.locator("#pins")
    assert pins.locator(".row__component").all_inner_texts() == ["L0H1", "embed"]
    pins.get_by_role("button", name="Show L0H1").click()
    assert explorer.selected == "L0H1@1"
    pins.get_by_role("button", name="Unpin L0H1").click()
    assert explorer.state["pins"] == ["embed@0"]
    explorer.press("p")
    explorer.page.locator("#walker").focus()
    explorer.page.get_by_role("button", name="Unpin all").click()
    assert explorer.state["pins"] == []


def test_a_group_is_one_node_with_summed_edges(explore):
    explorer = explore(tiny.graph(), f"#pins={','.join(PINS)}")
    explorer.page.mouse.move(*explorer.place(PINS[0]))
    assert explorer.page.locator("#tip").is_visible()
    explorer.press("g")
    # It told of a node that is now part of the group.
    assert not explorer.page.locator("#tip").is_visible()
    explorer.page.keyboard.type("end of the line")
    explorer.press("Enter")
    assert explorer.state["pins"] == []
    shown = explorer.shown()
    assert set(PINS).isdisjoint(shown["items"])
    assert "end of the line" in shown["items"]
    edges = {(source, target): weight for source, target, weight in shown["edges"]}
    assert edges["end of the line", "logit@3"] == 4 - 2
    assert edges["embed@3", "end of the line"] == 3 - 0.75
    assert len(edges) == 14 - 3
    assert "+3.000" in explorer.text("#pins")

    explorer.click("end of the line")
    panel = explorer.text("#panel")
    for part in ("end of the line", "2 nodes", "+3.000", "30.0% of the value", "+1.000 among members", "−0.250 cut"):
        assert part in panel
    assert explorer.page.locator("[role=treeitem] .row__flow").all_inner_texts() == ["+2.250", "−0.250"]
    explorer.page.get_by_role("list", name="Members").get_by_role("button").first.click()
    assert explorer.selected in PINS


def test_only_ticked_pins_are_grouped(explore):
    explorer = explore(tiny.graph(), "#pins=L0MLP@3,L1MLP@3,L0H1@1")
    for name in ("L0MLP", "L1MLP"):
        explorer.page.get_by_label(f"Take {name}").check()
    explorer.page.get_by_role("button", name="Group", exact=True).click()
    assert explorer.state["pins"] == ["L0H1@1"]
    assert [group["members"] for group in explorer.state["groups"]] == [PINS]


def test_one_pin_makes_no_group(explore):
    explorer = explore(tiny.graph(), "#pins=L0MLP@3")
    explorer.press("g")
    assert explorer.state["groups"] == []
    assert "at least two" in explorer.text("#status")


def test_groups_are_renamed_unfolded_and_dissolved(explore):
    explorer = explore(tiny.graph(), f"#groups=1:old:1:{','.join(PINS)}")
    name = explorer.page.get_by_label("Name of the group")
    name.fill("new")
    name.press("Enter")
    assert explorer.state["groups"][0]["name"] == "new"
    name = explorer.page.get_by_label("Name of the group")
    name.fill("thrown away")
    name.press("Escape")
    assert explorer.state["groups"][0]["name"] == "new"

    explorer.page.get_by_role("button", name="Draw new as one node").click()
    assert set(PINS) <= set(explorer.shown()["items"])
    rings = "() => explorer.stage.scene().rings.filter(([, style]) => style === 'member').map(([item]) => item.id)"
    assert explorer.run(rings) == PINS
    explorer.page.get_by_role("button", name="Show new").click()
    assert explorer.state["selected"] == {"group": 1}
    assert {"L1MLP@3", "L0MLP@3", "logit@3", "embed@3"} == set(
        explorer.run("() => [...explorer.session.view().focus.items].map((item) => item.id)")
    )

    explorer.page.get_by_role("button", name="Ungroup", exact=True).click()
    assert explorer.state["groups"] == []
    assert explorer.state["pins"] == PINS
    assert explorer.state["selected"] is None


def test_a_grouped_node_leaves_its_group_when_unpinned(explore):
    explorer = explore(tiny.graph(), f"#groups=1:g:0:{','.join(PINS)}")
    for name in PINS:
        explorer.click(name, shift=True)
    assert explorer.state["groups"] == []
    assert explorer.state["pins"] == []


def test_a_grouped_selection_gives_way_to_its_group(explore):
    explorer = explore(tiny.graph(), f"#sel=L1MLP@3&pins={','.join(PINS)}")
    explorer.press("g")
    assert explorer.selected is None


def test_two_groups_exchange_flow(explore):
    explorer = explore(tiny.graph(), "#groups=1:low:1:embed@2,embed@1;2:high:1:L0H2@2,L0H1@1")
    edges = {(source, target): weight for source, target, weight in explorer.shown()["edges"]}
    assert edges["low", "high"] == pytest.approx(3.0 - 2.99 - 1.0)


def test_everything_can_be_undone_and_done_again(explore):
    explorer = explore(tiny.graph())
    states = [explorer.state]

    def did(action):
        action()
        explorer.settle()
        assert explorer.state != states[-1]
        states.append(explorer.state)

    page = explorer.page
    did(lambda: explorer.click("L1MLP@3"))
    did(lambda: page.locator("[role=treeitem][aria-expanded=false] .row__twist").first.click())
    # The focus is on the row that was unfolded, L0MLP@3.
    did(lambda: explorer.press("p"))
    did(lambda: explorer.click("L1MLP@3", shift=True))
    did(lambda: explorer.press("g"))
    page.keyboard.type("named")
    did(lambda: explorer.press("Enter"))
    did(lambda: page.locator("#kinds").get_by_role("button", name="Token embedding").click())
    did(lambda: page.locator("#share").fill("700"))
    did(lambda: page.get_by_label("Compact").check())
    did(lambda: page.locator("#search").fill("mlp"))

    page.locator("#walker").focus()
    for state in reversed(states[:-1]):
        explorer.press("Control+z")
        assert explorer.state == state
    assert page.locator("#undo").get_attribute("aria-disabled") == "true"
    explorer.press("Control+z")
    for state in states[1:6]:
        explorer.press("Control+Shift+z")
        assert explorer.state == state
    for state in states[6:8]:
        explorer.press("Control+y")
        assert explorer.state == state
    for state in states[8:]:
        page.click("#redo")
        assert explorer.state == state
    page.click("#undo")
    assert explorer.state == states[-2]


def test_a_drag_of_the_slider_is_one_step(explore):
    explorer = explore(tiny.graph())
    explorer.page.focus("#share")
    explorer.press(*["ArrowLeft"] * 6)
    assert explorer.state["share"] == 0.994
    explorer.press("Control+z")
    assert explorer.state["share"] == 1


def test_undo_in_a_text_field_belongs_to_the_field(explore):
    explorer = explore(tiny.graph(), "#pins=L0H1@1")
    explorer.press("p")
    explorer.page.focus("#search")
    explorer.press("Control+z", "p")
    assert explorer.state["pins"] == ["L0H1@1"]
    assert explorer.state["query"] == "p"


def test_pinned_nodes_are_saved_as_a_graph_that_adds_up(explore):
    document = synthetic.graph()
    ids = [node["id"] for node in document["nodes"]][-60:]
    groups = f"1:late:1:{','.join(ids[:20])}"
    explorer = explore(document, f"#pins={','.join(ids[20:])}&groups={groups}")
    part = json.loads(saved(explorer, "Pins as JSON"))
    assert {key: part[key] for key in ("format", "version")} == {key: document[key] for key in ("format", "version")}
    assert sorted(node["id"] for node in part["nodes"]) == sorted(ids)
    assert part["edges"] == [edge for edge in document["edges"] if {edge["source"], edge["target"]} <= set(ids)]
    assert part["edges"]
    pruning = part["metadata"].pop("pruning")
    assert pruning["groups"] == [{"name": "late", "members": ids[:20]}]
    assert pruning["before"] == document["metadata"].pop("pruning")
    assert part["metadata"] == document["metadata"]
    for node in part["nodes"]:
        inflow = sum(edge["weight"] for edge in part["edges"] if edge["target"] == node["id"])
        outflow = sum(edge["weight"] for edge in part["edges"] if edge["source"] == node["id"])
        if node["kind"] not in ("embed", "bias"):
            assert inflow + node["rest_in"] == pytest.approx(node["attribution"])
        if node["kind"] != "logit":
            assert outflow + node["rest_out"] == pytest.approx(node["attribution"])
    explore(part)


def test_without_pins_there_is_nothing_to_save(explore):
    explorer = explore(tiny.graph())
    explorer.page.get_by_role("button", name="Pins as JSON").click()
    assert "Pin nodes first" in explorer.text("#status")


def test_the_view_is_saved_as_svg(explore):
    explorer = explore(tiny.graph(), "#sel=L1H0@3&theme=light&groups=1:%3Cg%3E:1:L0MLP@3,L1MLP@3")
    root = ElementTree.fromstring(saved(explorer, "View as SVG"))
    space = "{http://www.w3.org/2000/svg}"
    box = explorer.page.locator("#plot").bounding_box()
    assert float(root.get("width")) == pytest.approx(box["width"], abs=1)
    # The caption stands above what is seen.
    assert float(root.get("height")) == pytest.approx(box["height"] + 58, abs=1)
    texts = {text.text for text in root.iter(f"{space}text")}
    assert {"L1H0", "logit", "·a", "·b", "·c"} <= texts
    assert {"' Mary' − ' John' at 3: +10.000 logits", "−7.000", "+7.000", "SmolLM2-135M-Instruct"} <= texts
    assert {"Logit", "Attention head", "MLP", "Token embedding"} <= texts

    curves = [path for path in root.iter(f"{space}path") if path.get("fill") == "none"]
    edges = explorer.shown()["edges"]
    focus = explorer.run("() => explorer.session.view().focus.edges.length")
    assert len(curves) == len(edges) + focus
    positive, negative = "rgb(18, 102, 176)", "rgb(200, 80, 15)"
    # The strongest come last.
    everything = curves[: len(edges)][::-1]
    assert [curve.get("stroke") for curve in everything] == [
        positive if weight >= 0 else negative for *_, weight in edges
    ]
    widths = [float(curve.get("stroke-width")) for curve in everything]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 5 * widths[-1]
    fills = explorer.run("() => [-1, -0.01, 0.01, 1].map((value) => explorer.stage.palette.fill(value))")
    assert fills[0] == negative
    assert fills[-1] == positive
    blues = [int(fill.split(",")[2].rstrip(")")) for fill in fills[:3]]
    assert blues == sorted(blues)


def test_the_link_is_copied(explore):
    explorer = explore(tiny.graph())
    explorer.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    explorer.click("L1H0@3")
    explorer.page.get_by_role("button", name="Copy link").click()
    explorer.wait("document.getElementById('status').textContent === 'Link copied'")
    assert explorer.run("() => navigator.clipboard.readText()").endswith("#sel=L1H0@3")
