"""What an automatic check can see of whether everyone can use the page."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import synthetic
import tiny

LARGE = "#sel=logit@14&open=L29H0@14&pins=embed@1,embed@2&groups=1:g:1:embed@3,embed@4&q=l2"


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which the package axe-playwright-python carries."""
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        message = "ACCESSIBILITY IS NOT TESTED: axe-playwright-python is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("fragment", "keys"),
    [
        ("", ()),
        (LARGE, ()),
        ("#selgroup=1&groups=1:g:0:embed@3,embed@4", ()),
        ("", ("?",)),
        ("#hide=logit,head,mlp,embed", ()),
    ],
    ids=["overview", "busy", "group", "help", "empty"],
)
def test_axe_finds_nothing(explore, axe, scheme, fragment, keys):
    explorer = explore(synthetic.graph(), fragment, color_scheme=scheme)
    for box in ("#heads-box", "#tokens-box", ".popover"):
        explorer.run("(box) => { document.querySelector(box).open = true; }", box)
    explorer.press(*keys)
    explorer.run(axe)
    result = explorer.run("() => axe.run({ resultTypes: ['violations'] })")
    found = [
        f"{violation['id']}: {node['html'][:160]} — {node['failureSummary']}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]
    assert not found, "\n".join(found)


def test_every_control_is_reached_by_tab_and_named(explore):
    explorer = explore(tiny.graph(), "#sel=logit@3&pins=embed@1,embed@2")
    session = explorer.page.context.new_cdp_session(explorer.page)
    reached, names = set(), []
    for _ in range(90):
        explorer.page.keyboard.press("Tab")
        reached.add(explorer.run("() => document.activeElement.id"))
    for node in session.send("Accessibility.getFullAXTree")["nodes"]:
        role = node.get("role", {}).get("value")
        if role in ("button", "checkbox", "slider", "combobox", "textbox", "spinbutton", "treeitem", "listbox", "tree"):
            names.append((role, node.get("name", {}).get("value", "").strip()))
    wanted = "undo redo theme help-open search share rooted compact walker zoom-fit"
    assert reached >= set(wanted.split())
    assert len(names) > 30
    assert all(name for _, name in names), names


def test_focus_stays_where_it_was_through_undo_and_changes(explore):
    explorer = explore(tiny.graph(), "#sel=logit@3")
    explorer.page.get_by_role("button", name="Pin", exact=True).click()
    assert explorer.run("() => document.activeElement.textContent") == "Unpin"
    explorer.page.focus("#undo")
    explorer.press("Enter")
    assert explorer.run("() => document.activeElement.id") == "undo"
