"""The explorer: one attribution graph as one self-contained web page."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from string import Template
from typing import Any

from recursive_dla.output.files.schema import FORMAT, VERSION

__all__ = ["render_page"]

# The scripts share one scope; each uses at load time only what precedes it.
_SCRIPTS = (
    "text.js",
    "dom.js",
    "graph.js",
    "groups.js",
    "shown.js",
    "layout.js",
    "camera.js",
    "marks.js",
    "scene.js",
    "painters.js",
    "store.js",
    "fragment.js",
    "derived.js",
    "actions.js",
    "slices.js",
    "stage.js",
    "pointer.js",
    "keyboard.js",
    "rows.js",
    "tree.js",
    "panel.js",
    "pins.js",
    "search.js",
    "filters.js",
    "masthead.js",
    "exports.js",
    "main.js",
)

# Characters that could end the data block or be read as markup inside it.
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def render_page(document: dict[str, Any]) -> str:
    """Return the HTML page that explores ``document``.

    ``document`` is an attribution graph in its JSON form (version 1). The page
    needs no file beside it and no network, and equal documents give equal
    pages, byte for byte. A document of another format, with an edge that leads
    nowhere or with a number JSON cannot hold raises ``ValueError``.
    """
    _check(document)
    style = _source("page.css")
    script = "\n".join(_source(name) for name in _SCRIPTS)
    return Template(_source("page.html")).substitute(
        policy=_policy(script, style),
        style=style,
        script=script,
        data=_embedded(document),
    )


def _check(document: dict[str, Any]) -> None:
    kind = (document.get("format"), document.get("version"))
    if kind != (FORMAT, VERSION):
        raise ValueError(f"expected a {FORMAT} document of version {VERSION}, got {kind}")
    ids = {node["id"] for node in document["nodes"]}
    if len(ids) != len(document["nodes"]):
        raise ValueError("two nodes of the document share an id")
    for edge in document["edges"]:
        for end in ("source", "target"):
            if edge[end] not in ids:
                raise ValueError(f"an edge's {end} is not a node of the document: {edge[end]!r}")


def _embedded(document: dict[str, Any]) -> str:
    """``document`` as JSON that is inert inside an HTML script element.

    Everything beyond ASCII is escaped too, so that line separators and lone
    surrogates survive any encoding of the file.
    """
    text = json.dumps(document, allow_nan=False, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return text.translate(_ESCAPES)


def _policy(script: str, style: str) -> str:
    """A content security policy that lets in these two texts and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _source(name: str) -> str:
    """The text of a file of this package, with the same line ends everywhere."""
    text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")
