"""Text of any kind is shown for what it is, and never acted on."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import synthetic
import tiny

TOKENS = {
    "</script><script>hacked = 1</script>": "</script><script>hacked·=·1</script>",
    "<img src=x onerror=hacked=1>": "<img·src=x·onerror=hacked=1>",
    "{{7*7}}${hacked=1}": "{{7*7}}${hacked=1}",
    " \t\r\n": "·⇥\\x0d⏎",
    "\x00\x1b[31m": "\\x00\\x1b[31m",
    "\u202eevil\u2066": "\\u202eevil\\u2066",
    "\u2028\u00a0\ufeff": "\\u2028\\xa0\\ufeff",
    "\u0301": "◌\u0301",
    "\U000e0041": "\\u{e0041}",
    "\ud83d": "\\ud83d",
    "": "∅",
    "שלום": "שלום",
}
EVIL = "<img src=x onerror=hacked=1>"


def document():
    tokens = list(TOKENS)
    graph = synthetic.graph(tokens=["x"] * len(tokens), n_nodes=60, n_edges=200)
    graph["metadata"] |= {
        "model": EVIL,
        "prompt": "\u202e".join(tokens),
        "tokens": [{"pos": pos, "token_id": pos, "text": text} for pos, text in enumerate(tokens)],
        "target": {"label": EVIL, "answer": EVIL, "wrong_answer": None, "pos": len(tokens) - 1},
        "rule": EVIL,
        "pruning": {EVIL: EVIL, "nested": {EVIL: [EVIL]}},
    }
    strange = {"id": EVIL, "kind": EVIL, "component": EVIL}
    for edge in graph["edges"]:
        if edge["source"] == graph["nodes"][0]["id"]:
            edge["source"] = EVIL
    graph["nodes"][0] |= strange
    return graph


def test_hostile_text_is_shown_and_never_acted_on(explore):
    explorer = explore(document())
    page = explorer.page
    page.get_by_text("Tokens", exact=True).click()
    page.get_by_text("2 settings").click()
    shown = page.locator("#tokens bdi").all_text_contents()
    for text, expected in zip(shown, TOKENS.values(), strict=True):
        assert text == expected or (text.endswith("…") and expected.startswith(text[:-1]))
    for part in ("#title", "#facts", "#kinds", "#legend"):
        assert EVIL in page.locator(part).text_content()

    first = explorer.document["nodes"][0]["id"]
    explorer.run("(id) => explorer.session.goTo(explorer.session.graph.byId.get(id))", first)
    assert EVIL in page.locator("#panel").text_content()
    page.locator("#search").fill("onerror")
    assert page.locator("#found [role=option]").count() > 0
    explorer.press("Enter")
    explorer.page.focus("#walker")
    explorer.press("p", "PageDown", "p", "g")
    page.keyboard.type(EVIL)
    explorer.press("Enter")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert explorer.run("() => typeof hacked") == "undefined"
    again = explore(explorer.document, explorer.fragment())
    assert again.state["groups"] == explorer.state["groups"]

    with page.expect_download() as download:
        page.get_by_role("button", name="View as SVG").click()
    root = ElementTree.fromstring(Path(download.value.path()).read_text(encoding="utf-8"))
    assert not any(element.tag.endswith(("img", "script")) for element in root.iter())


def test_ids_may_hold_the_separators_of_the_address(explore):
    graph = tiny.graph()
    strange = "a&b=c,d;e:f/g#%@é\u202e"
    graph["nodes"][5]["id"] = strange
    for edge in graph["edges"]:
        for end in ("source", "target"):
            if edge[end] == "L0H1@1":
                edge[end] = strange
    explorer = explore(graph, "#sel=L1H0@3")
    explorer.page.locator("[role=treeitem] .row__twist").nth(2).click()
    explorer.run("(id) => explorer.session.actions.togglePin(explorer.session.graph.byId.get(id))", strange)
    again = explore(graph, explorer.fragment())
    assert again.state == explorer.state
    assert again.page.locator("[role=treeitem][aria-level='2']").count() == 1


def test_the_policy_stops_what_the_page_did_not_bring(explore):
    explorer = explore(tiny.graph())
    blocked = explorer.run("""() => new Promise((resolve) => {
      document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
      const script = document.createElement("script");
      script.textContent = "window.hacked = 1";
      document.body.append(script);
      setTimeout(() => resolve("nothing"), 1000);
    })""")
    assert blocked == "script-src-elem"
    assert explorer.run("() => typeof hacked") == "undefined"
    # The browser's own word on what was just blocked is no complaint about the page.
    explorer.complaints.clear()
