"""The drawing: where things stand, what the pointer and the keys do to it."""

from __future__ import annotations

import itertools

import pytest
import synthetic
import tiny

WIDE = [" the", "\n", " cat", " sat", "."] * 40


def positions(explorer):
    return {node["id"]: explorer.place(node["id"]) for node in explorer.document["nodes"]}


def crossing(explorer, a, b):
    """The middle of the curve between two nodes."""
    return explorer.run(
        """([a, b]) => {
          const edge = explorer.session.view().shown.edges.find((edge) => edge.source.id === a && edge.target.id === b);
          const points = explorer.stage.scene().curve(edge);
          const box = explorer.stage.walker.getBoundingClientRect();
          const at = (i) => bezierAt(points[i], points[i + 2], points[i + 4], points[i + 6]);
          const bezierAt = (a, b, c, d) => (a + 3 * b + 3 * c + d) / 8;
          return [box.left + at(0), box.top + at(1)];
        }""",
        [a, b],
    )


def test_the_head_tells_what_is_explained(explore):
    head = explore(tiny.graph(prompt="one two\nthree")).text(".masthead")
    for part in ("SmolLM2-135M-Instruct", "one two⏎three", "' Mary' − ' John'", "at 3", "10.000", "1.2e−6", "ratio"):
        assert part in head


def test_settings_of_the_pruning_unfold(explore):
    explorer = explore(tiny.graph(pruning={"edge_threshold": 0.05, "nested": {"a": [1]}}))
    explorer.page.get_by_text("2 settings").click()
    assert "edge threshold" in explorer.text(".popover dl")
    assert '{"a":[1]}' in explorer.text(".popover dl")
    explorer.press("Escape")
    assert not explorer.page.locator(".popover dl").is_visible()


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("compact", [0, 1])
def test_tokens_stand_along_x_and_layers_along_y(explore, biases, compact):
    document = synthetic.graph(n_layers=12, n_heads=12, n_nodes=400, n_edges=2000, biases=biases)
    explorer = explore(document, f"#compact={compact}&share=1")
    place = positions(explorer)
    for a, b in itertools.combinations(document["nodes"], 2):
        (ax, ay), (bx, by) = place[a["id"]], place[b["id"]]
        if a["pos"] < b["pos"]:
            assert ax < bx
        if a["layer"] < b["layer"]:
            assert ay > by
        assert abs(ax - bx) + abs(ay - by) > 2
    for edge in document["edges"]:
        assert place[edge["source"]][1] > place[edge["target"]][1]


@pytest.mark.parametrize("tokens", [synthetic.IOI_TOKENS, WIDE])
def test_the_opening_view_fits_everything(explore, tokens):
    explorer = explore(synthetic.graph(tokens=tokens, n_nodes=300, n_edges=1500))
    box = explorer.page.locator("#walker").bounding_box()
    for x, y in positions(explorer).values():
        assert box["x"] < x < box["x"] + box["width"]
        assert box["y"] < y < box["y"] + box["height"]


def test_every_token_can_be_told_by_its_position(explore):
    explorer = explore(synthetic.graph(tokens=WIDE, n_nodes=300, n_edges=1500))
    explorer.run(
        "() => { explorer.session.camera.settle({ x: 0.5, y: 0, zoom: 14 }); explorer.session.cameraMoved(); }"
    )
    labels = explorer.run("() => explorer.stage.scene().tokenLabels().map(({ pos, text }) => [pos, text])")
    labels.sort()
    first, last = labels[0][0], labels[-1][0]
    assert [pos for pos, _ in labels] == list(range(first, last + 1))
    assert {text for _, text in labels} == {"·the", "⏎", "·cat", "·sat", "."}


def test_hovering_a_node_tells_its_values(explore):
    explorer = explore(tiny.graph())
    explorer.page.mouse.move(*explorer.place("L1H0@3"))
    tip = explorer.text("#tip")
    for part in ("L1H0", "·c", "+7.000", "70.0%", "+0.500", "4, 1"):
        assert part in tip


def test_hovering_an_edge_tells_its_values(explore):
    explorer = explore(tiny.graph())
    explorer.page.mouse.move(*crossing(explorer, "L0MLP@0", "L1H0@3"))
    tip = explorer.text("#tip")
    for part in ("L0MLP@0 → L1H0@3", "+5.000", "71.4%", "100%"):
        assert part in tip
    explorer.page.mouse.move(5, 5)
    assert not explorer.page.locator("#tip").is_visible()


def test_hovering_the_axis_tells_the_token(explore):
    explorer = explore(tiny.graph())
    x, _ = explorer.place("embed@2")
    explorer.page.mouse.move(x, explorer.page.locator("#plot").bounding_box()["y"] + 720)
    assert "·a" in explorer.text("#tip")
    assert "102" in explorer.text("#tip")


def test_a_click_selects_and_a_click_beside_deselects(explore):
    explorer = explore(tiny.graph())
    explorer.click("L0H1@1")
    assert explorer.selected == "L0H1@1"
    x, y = explorer.place("logit@3")
    explorer.page.mouse.click(x - 250, y)
    assert explorer.selected is None


def test_a_shift_click_pins(explore):
    explorer = explore(tiny.graph())
    explorer.click("L0H1@1", shift=True)
    assert explorer.state["pins"] == ["L0H1@1"]
    assert explorer.selected is None
    explorer.click("L0H1@1", shift=True)
    assert explorer.state["pins"] == []


def test_dragging_moves_the_view_and_selects_nothing(explore):
    explorer = explore(tiny.graph())
    x, y = explorer.place("L0H1@1")
    explorer.page.mouse.move(x, y)
    explorer.page.mouse.down()
    explorer.page.mouse.move(x + 60, y + 30, steps=4)
    explorer.page.mouse.up()
    moved_x, moved_y = explorer.place("L0H1@1")
    assert moved_x - x == pytest.approx(60, abs=1)
    assert moved_y - y == pytest.approx(30, abs=1)
    assert explorer.selected is None


def test_the_wheel_zooms_around_the_pointer(explore):
    explorer = explore()
    before = explorer.place("L29H0@14")
    far = explorer.place("embed@0")
    explorer.page.mouse.move(*before)
    explorer.page.mouse.wheel(0, -300)
    explorer.settle()
    after = explorer.place("L29H0@14")
    assert after == pytest.approx(before, abs=1)
    assert after[0] - explorer.place("embed@0")[0] > 1.15 * (before[0] - far[0])
    assert explorer.place("embed@0")[1] - after[1] > 1.5 * (far[1] - before[1])


def test_zoom_buttons_and_keys_and_fit(explore):
    explorer = explore()
    at_first = positions(explorer)
    for zoom_in, zoom_out in (("#zoom-in", "#zoom-out"), ("+", "-")):
        for step, grows in ((zoom_in, True), (zoom_out, False)):
            before = explorer.run("() => explorer.session.camera.scaleX")
            if step.startswith("#"):
                explorer.page.click(step)
            else:
                explorer.press(step)
            assert (explorer.run("() => explorer.session.camera.scaleX") > before) is grows
    explorer.page.click("#zoom-in")
    explorer.page.click("#zoom-fit")
    assert positions(explorer) == at_first
    explorer.press("+", "0")
    assert positions(explorer) == at_first


def test_two_fingers_zoom(explore):
    explorer = explore(has_touch=True)
    box = explorer.page.locator("#walker").bounding_box()
    session = explorer.page.context.new_cdp_session(explorer.page)
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def touch(kind: str, spread: float) -> None:
        points = [{"x": middle[0] + side * spread, "y": middle[1], "id": i} for i, side in enumerate((-1, 1))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [] if kind == "touchEnd" else points})

    touch("touchStart", 40)
    for spread in (60, 80, 100, 120):
        touch("touchMove", spread)
    touch("touchEnd", 0)
    explorer.settle()
    assert 2 < explorer.run("() => explorer.session.camera.view.zoom") < 4
    assert explorer.selected is None


def test_many_edges_are_painted_over_several_frames(explore):
    explorer = explore(synthetic.graph(tokens=WIDE, n_nodes=1500, n_edges=9000), "#share=1")
    explorer.wait("explorer.stage.slices.edges.painted === 9000")
    explorer.page.mouse.move(700, 400)
    explorer.page.mouse.wheel(0, -200)
    explorer.wait("explorer.stage.canvases.edges.style.transform !== ''")
    explorer.wait(
        "explorer.stage.canvases.edges.style.transform === '' && explorer.stage.slices.edges.painted === 9000"
    )


def test_marks_painted_in_slices_lie_as_if_painted_at_once(explore):
    # Marks of few columns overlap, so that what lies on top shows.
    explorer = explore(synthetic.graph(tokens=WIDE[:60], n_nodes=4000, n_edges=6000), "#share=1&theme=light")
    explorer.run("() => explorer.stage.request('items')")
    explorer.settle()
    explorer.wait("!explorer.stage.slices.items.unfinished && !explorer.stage.slices.edges.unfinished")
    picture = "() => explorer.stage.canvases.items.toDataURL()"
    sliced = explorer.run(picture)
    whole = explorer.run(f"""() => {{
      explorer.stage.startItems(explorer.stage.scene(), true);
      return ({picture})();
    }}""")
    assert explorer.run("() => explorer.session.view().shown.items.length") == 4000
    assert sliced == whole
    backwards = explorer.run(f"""() => {{
      const scene = explorer.stage.scene();
      scene.shown = {{ ...scene.shown, items: scene.shown.items.toReversed() }};
      explorer.stage.startItems(scene, true);
      return ({picture})();
    }}""")
    assert backwards != whole


def test_arrow_keys_walk_to_the_neighbours(explore):
    explorer = explore(tiny.graph())
    explorer.page.focus("#walker")
    cursor = "() => explorer.session.cursor.id"
    assert explorer.run(cursor) == "logit@3"
    steps = {"ArrowDown": "L1MLP@3", "PageDown": "embed@2", "PageUp": "L1MLP@3", "End": "L0H2@2", "Home": "logit@3"}
    for key, expected in {"ArrowDown": "L1MLP@3"}.items():
        explorer.press(key)
        assert explorer.run(cursor) == expected
    for _ in range(6):
        explorer.press("ArrowDown")
    assert explorer.run(cursor) == "embed@3"
    explorer.press("ArrowLeft")
    assert explorer.run(cursor) == "embed@2"
    explorer.press("ArrowRight", "ArrowUp")
    assert explorer.run(cursor) == "L0MLP@3"
    for key in ("End", "Home"):
        explorer.press(key)
        assert explorer.run(cursor) == steps[key]
    explorer.press("PageDown")
    assert explorer.run(cursor) == "L1H0@3"
    explorer.press("PageUp")
    assert explorer.run(cursor) == "logit@3"


def test_every_node_can_be_reached_by_key_and_is_read_out(explore):
    explorer = explore(tiny.graph())
    explorer.page.focus("#walker")
    option = explorer.page.locator("#walker-node")
    texts = []
    for place in range(len(explorer.document["nodes"])):
        texts.append(option.inner_text())
        assert option.get_attribute("aria-posinset") == str(place + 1)
        explorer.press("PageDown")
    assert len(set(texts)) == len(explorer.document["nodes"])
    assert texts[0] == "logit, token 3 ·c, +10.000 logits, 3 inputs, 0 outputs"
    assert explorer.page.locator("#walker").get_attribute("aria-activedescendant") == "walker-node"


def test_strongest_input_and_output_enter_and_pin_by_key(explore):
    explorer = explore(tiny.graph())
    explorer.page.focus("#walker")
    explorer.press("i", "i")
    assert explorer.run("() => explorer.session.cursor.id") == "L0MLP@0"
    explorer.press("o", "Enter")
    assert explorer.selected == "L1H0@3"
    assert explorer.page.locator("#walker-node").get_attribute("aria-selected") == "true"
    explorer.press("p")
    assert explorer.state["pins"] == ["L1H0@3"]
    explorer.press("Escape")
    assert explorer.selected is None


def test_help_opens_and_closes(explore):
    explorer = explore(tiny.graph())
    explorer.press("?")
    assert explorer.page.locator("#help").is_visible()
    explorer.press("p", "Escape")
    assert not explorer.page.locator("#help").is_visible()
    explorer.page.click("#help-open")
    explorer.page.click("#help-close")
    assert not explorer.page.locator("#help").is_visible()


def test_colours_follow_the_system_and_the_button(explore):
    explorer = explore(tiny.graph(), color_scheme="dark")
    surface = (
        "() => [explorer.stage.palette.surface, getComputedStyle(document.querySelector('.stage')).backgroundColor]"
    )
    dark = explorer.run(surface)
    assert dark[0] == dark[1]
    explorer.page.click("#theme")
    light = explorer.run(surface)
    assert light == ["rgb(255, 255, 255)"] * 2 != dark
    explorer.page.click("#theme")
    assert explorer.run(surface) == dark
    explorer.page.click("#theme")
    explorer.page.emulate_media(color_scheme="light")
    explorer.settle()
    assert explorer.run(surface) == light


def test_colour_tells_the_sign_and_size_the_amount(explore):
    explorer = explore(tiny.graph())
    marks = explorer.run("""() => {
      const scene = explorer.stage.scene();
      return Object.fromEntries(explorer.session.graph.nodes.map((node) => [node.id, [
        scene.radius(node), scene.palette.fill(node.attribution / explorer.session.graph.largest)]]));
    }""")
    assert marks["L1H0@3"][0] > marks["L1MLP@3"][0] > marks["L0H1@1"][0] > marks["L0H2@2"][0]
    red, _, blue = map(int, marks["L1H0@3"][1][4:-1].split(","))
    assert blue > red
    red, _, blue = map(int, marks["embed@1"][1][4:-1].split(","))
    assert red > blue


def test_unknown_kinds_and_sparse_metadata_are_shown(explore):
    document = tiny.graph()
    document["nodes"][5] |= {"kind": "router"}
    document["metadata"] = {"model": "m"}
    explorer = explore(document)
    assert "router" in explorer.text("#legend")
    explorer.click("L0H1@1")
    assert "router" in explorer.text("#panel")


def test_a_graph_without_edges_is_shown(explore):
    document = synthetic.document([synthetic.node("logit", "logit", 2, 0, attribution=1.0)], [], [" x"])
    explorer = explore(document)
    explorer.click("logit@0")
    assert "Nothing flows in" in explorer.text("#panel")


def test_a_narrow_screen_stacks_the_parts(explore):
    explorer = explore(tiny.graph(), viewport={"width": 420, "height": 800})
    assert explorer.run("() => document.documentElement.scrollWidth") <= 420
    explorer.click("L0H1@1")
    assert explorer.selected == "L0H1@1"
