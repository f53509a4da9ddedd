"""The panel: inputs, outputs, and the tree of what flows along each path."""

from __future__ import annotations

import pytest
import synthetic
import tiny


def tree(explorer):
    """The rows of the inputs tree as (level, name, flow, share)."""
    return [
        (
            int(row.get_attribute("aria-level")),
            " ".join(row.locator(".row__name").inner_text().split()),
            row.locator(".row__flow").inner_text(),
            row.locator(".row__share").inner_text(),
        )
        for row in explorer.page.locator("[role=treeitem]").all()
    ]


def unfold(explorer, name):
    explorer.page.locator(f"[role=treeitem][aria-label^='{name}'] .row__twist").first.click()
    explorer.settle()


def test_the_overview_lists_the_strongest_nodes(explore):
    explorer = explore(tiny.graph())
    names = explorer.page.locator("#panel .row__component").all_inner_texts()
    assert names[:3] == ["L1H0", "embed", "embed"]
    assert len(names) == 10
    explorer.page.get_by_role("button", name="Start at logit").click()
    assert explorer.selected == "logit@3"


def test_inputs_outputs_and_balance_of_a_node(explore):
    explorer = explore(tiny.graph(), "#sel=L1H0@3")
    panel = explorer.text("#panel")
    for part in ("L1H0", "Attention head · layer 1, head 0", "+7.000", "70.0% of the value"):
        assert part in panel
    balance = explorer.text(".balance")
    assert "+6.500" in balance
    assert "+0.500 cut" in balance
    assert tree(explorer) == [
        (1, "L0MLP ·a 0", "+5.000", "71.4%"),
        (1, "embed ·a 2", "+2.490", "35.6%"),
        (1, "L0H1 ·b 1", "−1.000", "−14.3%"),
        (1, "L0H2 ·a 2", "+0.010", "0.1%"),
        (1, "rest (cut)", "+0.500", "7.1%"),
    ]
    outputs = explorer.page.get_by_role("list", name="Outputs")
    assert outputs.locator(".row__flow").all_inner_texts() == ["+7.000"]


def test_bars_tell_sign_and_share(explore):
    explorer = explore(tiny.graph(), "#sel=L1H0@3")
    styles = explorer.run("""() => [...document.querySelectorAll("[role=tree] .bar__fill")].map(
        (bar) => [bar.className.split("-").pop(), parseFloat(bar.style.left), parseFloat(bar.style.width)])""")
    assert styles[0] == ["positive", 50, 50]
    assert styles[2] == ["negative", 40, 10]


def test_deeper_rows_carry_their_share_of_the_node_above(explore):
    explorer = explore(tiny.graph(), "#sel=logit@3")
    unfold(explorer, "L0MLP")
    assert tree(explorer) == [
        (1, "L1H0 ·c 3", "+7.000", "70.0%"),
        (1, "L1MLP ·c 3", "+4.000", "40.0%"),
        (1, "L0MLP ·c 3", "−2.000", "−20.0%"),
        # The node holds −1 in all, −0.75 of it from here: of the −2 that pass, −1.5 do.
        (2, "embed ·c 3", "−1.500", "−15.0%"),
        (2, "rest (cut)", "−0.500", "−5.0%"),
        (1, "rest (cut)", "+1.000", "10.0%"),
    ]
    unfold(explorer, "L1H0")
    unfold(explorer, "L0MLP, token 0")
    assert (3, "embed ·a 0", "+5.000", "50.0%") in tree(explorer)
    unfold(explorer, "L1H0")
    assert [row[1] for row in tree(explorer) if row[0] == 1] == ["L1H0 ·c 3", "L1MLP ·c 3", "L0MLP ·c 3", "rest (cut)"]
    assert not any(level == 3 for level, *_ in tree(explorer))


def test_children_of_every_unfolded_row_add_up_to_it(explore):
    explorer = explore(fragment="#sel=logit@14")
    for _ in range(6):
        explorer.page.locator("[role=treeitem][aria-expanded=false] .row__twist").first.click()
    sums = explorer.run("""() => {
      const rows = explorer.panel.tree.rows;
      const parents = rows.filter((row) => row.expanded);
      return parents.map((parent) => {
        const from = rows.indexOf(parent) + 1;
        const to = rows.findIndex((row, i) => i >= from && row.depth <= parent.depth);
        const below = rows.slice(from, to < 0 ? undefined : to);
        const children = below.filter((row) => row.depth === parent.depth + 1);
        return [parent.flow, children.reduce((sum, row) => sum + row.flow, 0)];
      });
    }""")
    assert len(sums) == 6
    for flow, children in sums:
        assert children == pytest.approx(flow, rel=1e-9)


def test_paths_through_a_node_that_cancels_are_approximate(explore):
    explorer = explore(tiny.graph(), "#sel=L1H0@3")
    unfold(explorer, "L0H2")
    rows = {name: flow for level, name, flow, _ in tree(explorer) if level == 2}
    assert rows == {"embed ·a 2": "≈ +3.000", "embed ·b 1": "≈ −2.990"}
    first = explorer.page.locator("[role=treeitem][aria-level='2']").first
    assert first.get_attribute("aria-label").endswith("about +3.000 logits, 42.9%")


def test_an_attribution_of_zero_leaves_its_inputs_undefined(explore):
    document = tiny.graph()
    document["nodes"][6] |= {"attribution": 0.0, "rest_in": -0.01, "rest_out": -0.01}
    explorer = explore(document, "#sel=L1H0@3")
    unfold(explorer, "L0H2")
    assert (2, "embed ·a 2", "≈ undefined", "–") in tree(explorer)


def test_long_lists_unfold_in_parts(explore):
    explorer = explore(synthetic.graph(n_nodes=600, n_edges=6000), "#sel=logit@14")
    inputs = explorer.run("() => explorer.session.graph.byId.get('logit@14').inputs.length")
    assert inputs > 70
    assert len(tree(explorer)) == 12 + 2
    more = explorer.page.locator(".row--more[role=treeitem]")
    assert f"{inputs - 12} more" in more.inner_text()
    more.click()
    assert len(tree(explorer)) == 62 + 2
    assert explorer.run("() => document.activeElement.getAttribute('aria-posinset')") == "13"


def test_clicking_walks_along_inputs_and_outputs(explore):
    explorer = explore(tiny.graph(), "#sel=logit@3")
    explorer.page.locator("[role=treeitem]").first.click()
    assert explorer.selected == "L1H0@3"
    explorer.page.locator("[role=treeitem]").first.click()
    assert explorer.selected == "L0MLP@0"
    explorer.page.get_by_role("list", name="Outputs").get_by_role("button").first.click()
    assert explorer.selected == "L1H0@3"
    explorer.press("Control+z", "Control+z")
    assert explorer.selected == "L1H0@3"


def test_the_tree_is_walked_by_keys(explore):
    explorer = explore(tiny.graph(), "#sel=logit@3")
    explorer.page.locator("[role=treeitem]").first.focus()
    focused = "() => document.activeElement.getAttribute('aria-label')"
    explorer.press("ArrowRight")
    assert explorer.state["open"] == ["L1H0@3"]
    explorer.press("ArrowRight")
    assert explorer.run(focused).startswith("L0MLP, token 0")
    explorer.press("ArrowDown", "ArrowUp", "ArrowLeft")
    assert explorer.run(focused).startswith("L1H0")
    explorer.press("ArrowLeft")
    assert explorer.state["open"] == []
    explorer.press("End")
    assert explorer.run(focused).startswith("Rest")
    explorer.press("Home", "ArrowDown", "p")
    assert explorer.state["pins"] == ["L1MLP@3"]
    assert explorer.run(focused).startswith("L1MLP")
    explorer.press("Enter")
    assert explorer.selected == "L1MLP@3"
    assert explorer.run("() => document.activeElement.tagName") == "H2"
    assert explorer.page.locator("[role=treeitem][tabindex='0']").count() == 1


def test_lists_are_walked_by_keys(explore):
    explorer = explore(tiny.graph())
    rows = explorer.page.get_by_role("list", name="Strongest nodes").get_by_role("button")
    rows.first.focus()
    explorer.press("ArrowDown", "ArrowDown", "ArrowUp", "Enter")
    assert explorer.selected == "embed@2"


def test_a_row_under_the_pointer_lights_up_in_the_drawing(explore):
    explorer = explore(tiny.graph(), "#sel=logit@3")
    explorer.page.locator("[role=treeitem]").nth(1).hover()
    assert explorer.run("() => explorer.session.hovered.id") == "L1MLP@3"


def test_the_selection_and_its_unfolded_inputs_stand_out(explore):
    explorer = explore(tiny.graph(), "#sel=logit@3")
    focus = "() => [...explorer.session.view().focus.items].map((item) => item.id).sort()"
    assert explorer.run(focus) == ["L0MLP@3", "L1H0@3", "L1MLP@3", "logit@3"]
    unfold(explorer, "L1MLP")
    assert explorer.run(focus) == ["L0MLP@3", "L1H0@3", "L1MLP@3", "embed@3", "logit@3"]


def test_what_is_not_drawn_says_so_and_is_drawn_once_selected(explore):
    explorer = explore(tiny.graph(), "#sel=logit@3&share=0.5")
    away = explorer.page.locator("[role=treeitem] .is-away .row__component")
    assert away.all_inner_texts() == ["L0MLP"]
    away.click()
    assert explorer.selected == "L0MLP@3"
    assert "L0MLP@3" in explorer.shown()["items"]


def test_buttons_of_the_panel(explore):
    explorer = explore(tiny.graph(), "#sel=L0H1@1&view=1,0,9")
    explorer.page.get_by_role("button", name="Pin", exact=True).click()
    assert explorer.state["pins"] == ["L0H1@1"]
    explorer.page.get_by_role("button", name="Unpin", exact=True).click()
    assert explorer.state["pins"] == []
    box = explorer.page.locator("#walker").bounding_box()
    assert explorer.place("L0H1@1")[0] < box["x"]
    explorer.page.get_by_role("button", name="Find in graph").click()
    assert explorer.place("L0H1@1")[0] > box["x"]
    explorer.page.get_by_role("button", name="Close").click()
    assert explorer.selected is None


def test_a_node_that_was_merged_before_lists_its_members(explore):
    document = tiny.graph()
    group = next(node for node in document["nodes"] if node["id"] == "L1H0@3")
    group["kind"] = "group"
    member = {"kind": "head", "layer": 1, "pos": 3, "attribution": 3.0}
    document["metadata"]["groups"] = {
        "L1H0@3": [
            member | {"id": "L1H1@3", "component": "L1H1", "head": 1},
            member | {"id": "L1H2@3", "component": "L1H2", "head": 2, "attribution": 4.0},
        ]
    }
    explorer = explore(document, "#sel=L1H0@3")
    assert "Group · 2 nodes" in explorer.text("#panel header")
    rows = explorer.page.get_by_role("list", name="Members").locator("li").all()
    texts = [" ".join(row.inner_text().split()) for row in rows]
    assert texts == ["L1H2 ·c 3 +4.000 57.1%", "L1H1 ·c 3 +3.000 42.9%"]
    assert tree(explorer)[0][1] == "L0MLP ·a 0"
    # It is a node like any other: it can be pinned, and grouped with others on the page.
    explorer.click("L1H0@3", shift=True)
    assert explorer.state["pins"] == ["L1H0@3"]
    assert explorer.page.get_by_role("button", name="Group", exact=False).first.is_visible()


def test_rows_that_stay_the_same_stay_in_the_page(explore):
    explorer = explore(tiny.graph())
    explorer.run("() => { window.before = [...explorer.panel.strongest.element.children]; }")
    names = "() => [...explorer.panel.strongest.element.children].map((row) => before.indexOf(row))"
    pinned = explorer.page.get_by_role("list", name="Strongest nodes").get_by_role("button").nth(2)
    pinned.focus()
    explorer.press("p")
    others = explorer.run(names)
    assert others == [-1 if place == 2 else place for place in range(len(others))]
    assert "Pinned" in explorer.page.locator("#panel [title=Pinned]").first.get_attribute("title")


def test_rows_of_a_group_that_was_made_anew_still_lead_to_it(explore):
    explorer = explore(tiny.graph(), "#groups=1:one:1:embed@2,embed@1;2:two:1:L0H1@1,L0H2@2")
    explorer.run("() => explorer.session.actions.ungroup(1)")
    row = explorer.page.locator("#panel").get_by_role("button", name="two, group of 2 nodes")
    row.hover()
    assert explorer.run("() => explorer.session.hovered.name") == "two"
    row.click()
    assert explorer.state["selected"] == {"group": 2}
