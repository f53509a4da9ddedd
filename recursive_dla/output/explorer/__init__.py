"""The explorer: one attribution graph as one self-contained web page.

::

    bundle.py       the modules of the script as one
    geometry.json   what the figures draw alike, which ``output/geometry.py`` reads
    page_file.py    the page as a file format: written, and the graph in one read back
    page.html       the page, and page.css its looks
    main.mjs        the script: a session with the graph, and the parts of the page that show it
    model/          modules that touch no page: the graph, what of it is shown and where, what a reader can do
    view/           modules that do: painting, lists, pointer and keys
    tsconfig.json   how TypeScript checks the types that comments give; model/ is also checked without those of a page
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from recursive_dla.output.explorer.bundle import bundle
from recursive_dla.output.files.schema import FORMAT, VERSION

__all__ = ["render_page"]

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
    script = _script()
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


@cache
def _script() -> str:
    return bundle(_source, "main.mjs")


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
