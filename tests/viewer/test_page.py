"""The page as text: complete in itself, the same each time, and inert where it holds data."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from typing import Any

import pytest
import synthetic
import tiny

from recursive_dla.output.explorer import render_page

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--",
    "<img src=x onerror=alert(1)>",
    "&lt;",
    "\u2028\u2029",
    "\x00\ud800",
]


def between(page: str, start: str, end: str) -> str:
    return page.split(start, 1)[1].split(end, 1)[0]


def data_of(page: str) -> str:
    return between(page, '<script type="application/json" id="attribution-graph">', "</script>")


def test_equal_documents_give_equal_pages():
    document = synthetic.graph(seed=5)
    reordered = json.loads(json.dumps(document, sort_keys=True))
    assert render_page(document) == render_page(synthetic.graph(seed=5)) == render_page(reordered)


def test_the_document_survives_and_holds_no_markup():
    document = tiny.graph()
    document["metadata"]["tokens"] = [{"pos": i, "token_id": i, "text": text} for i, text in enumerate(HOSTILE)]
    data = data_of(render_page(document))
    assert json.loads(data) == document
    assert data.isascii()
    assert not set("<>&") & set(data)


def test_hostile_text_reaches_the_page_in_its_data_only():
    plain, hostile = (
        render_page(tiny.graph(model=text, prompt=text, pruning={text: text})) for text in ("plain", HOSTILE[0])
    )
    assert plain.replace(data_of(plain), "") == hostile.replace(data_of(hostile), "")


def test_nothing_is_loaded_from_elsewhere():
    page = render_page(tiny.graph())
    assert re.findall(r"https?://[^\"'`]+", page) == ["http://www.w3.org/2000/svg"]
    assert re.findall(r'\b(?:src|href)="([^"]*)"', page) == ["data:,"]
    assert "@import" not in page
    assert "url(#" in page
    assert not re.findall(r"url\([^#]", page)


def test_the_policy_admits_these_very_texts():
    page = render_page(tiny.graph())
    policy = between(page, 'http-equiv="Content-Security-Policy" content="', '"')
    assert policy.startswith("default-src 'none'; ")
    for directive, text in (
        ("script-src", between(page, '<script type="module">', "</script>")),
        ("style-src", between(page, "<style>", "</style>")),
    ):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def broken(change: dict[str, Any], part: str | None = None) -> dict[str, Any]:
    document = tiny.graph()
    (document[part][0] if part else document).update(change)
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (broken({"version": 2}), "version 1"),
        (broken({"format": "something else"}), "expected a recursive_dla.attribution_graph document"),
        (broken({"source": "nowhere@1"}, "edges"), "edge's source is not a node of the document: 'nowhere@1'"),
        (broken({"target": "nowhere@1"}, "edges"), "edge's target is not a node"),
        (broken({"id": "logit@3"}, "nodes"), "share an id"),
        (broken({"attribution": math.nan}, "nodes"), "JSON"),
    ],
)
def test_a_document_that_cannot_be_shown_is_refused(document: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        render_page(document)
