"""Trees to JSON and back.

The document is ``{"format": "recursive_dla.attribution_tree", "version": 1, "metadata": {...}, "nodes": [...]}``.
``metadata`` holds the fields of :class:`recursive_dla.trees.data.TreeMetadata` and the ``prompt``. ``nodes`` has one
object for each node, parents before children, with the columns of :attr:`recursive_dla.AttributionTree.nodes`:
``parent`` is the place of the parent in the list, or null for the root; ``head`` and ``pos`` are null where they do not
apply. ``token`` and ``share`` follow from the others and are left out. Weights are in logits, with the digits that it
takes to read them back exactly.
"""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from recursive_dla.errors import InputError
from recursive_dla.output.files.document import provenance_document, tokens_and_target
from recursive_dla.output.files.formats import read_text, write_text
from recursive_dla.output.files.own_json import json_lines, parse_json
from recursive_dla.output.files.schema import validate_part
from recursive_dla.safe_files import check_place, reading
from recursive_dla.trees.data import COLUMNS, TreeData, TreeMetadata

FORMAT = "recursive_dla.attribution_tree"
VERSION = 1

_COLUMNS: dict[str, type] = {
    "parent": int,
    "depth": int,
    "id": str,
    "kind": str,
    "component": str,
    "layer": int,
    "head": int,
    "pos": int,
    "weight": float,
    "expanded": bool,
    "sources": int,
    "largest": float,
}
# Integers of which -1 in the table is null in the document.
_OPTIONAL = {"parent", "head", "pos"}


def tree_document(tree: TreeData) -> dict[str, Any]:
    """A tree as plain JSON types."""
    columns = {name: tree.nodes[name].tolist() for name in _COLUMNS}
    for name in _OPTIONAL:
        columns[name] = [None if value < 0 else value for value in columns[name]]
    nodes = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    metadata = provenance_document(tree.metadata)
    return {"format": FORMAT, "version": VERSION, "metadata": metadata, "nodes": nodes}


def check_writable(path: Path) -> None:
    """Fail now rather than after the work.

    Raises:
        InputError: The extension is not ``.json``, or nothing can be written there.
    """
    if path.suffix.lower() != ".json":
        raise InputError(f"Trees are saved as .json. Got {str(path)!r}.")
    check_place(path)


def save(tree: TreeData, path: Path) -> Path:
    """Write ``tree`` to ``path``; the public face of this is :meth:`AttributionTree.save`."""
    check_writable(path)
    # One node to a line, so that two trees can be compared line by line.
    write_text(path, json_lines(tree_document(tree), "nodes"))
    return path


def load(path: Path) -> TreeData:
    """Read what :func:`save` wrote; the public face of this is :meth:`AttributionTree.load`."""
    with reading(path, "an attribution tree"):
        return _tree(parse_json(read_text(path)))


def _tree(document: dict[str, Any]) -> TreeData:
    if document["format"] != FORMAT or document["version"] != VERSION:
        raise ValueError(f"expected {FORMAT} version {VERSION}, got {document['format']!r} {document['version']!r}")
    metadata = _metadata(document["metadata"])
    rows = document["nodes"]
    if not rows:
        raise ValueError("there are no nodes")
    nodes = pd.DataFrame(
        {
            name: [-1 if name in _OPTIONAL and row[name] is None else _checked(row[name], kind) for row in rows]
            for name, kind in _COLUMNS.items()
        }
    )
    parent = nodes["parent"].tolist()
    if parent[0] != -1 or any(not 0 <= number < row for row, number in enumerate(parent[1:], 1)):
        raise ValueError("a node's `parent` is not a node before it")
    if any(not -1 <= pos < len(metadata.tokens) for pos in nodes["pos"]):
        raise ValueError("a node's `pos` is not the position of a token")
    texts = [*(token.text for token in metadata.tokens), ""]
    nodes["token"] = [texts[pos] for pos in nodes["pos"]]
    root = nodes["weight"][0]
    nodes["share"] = nodes["weight"] / root if root else math.nan
    nodes = nodes[list(COLUMNS)]
    return TreeData(nodes, metadata)


def _metadata(document: dict[str, Any]) -> TreeMetadata:
    given = {name: value for name, value in document.items() if name != "prompt"}
    unknown = set(given) - {field.name for field in fields(TreeMetadata)}
    if unknown:
        raise ValueError(f"`metadata` has the unknown field {min(unknown)!r}")
    tokens, target, top_k = given.pop("tokens"), given.pop("target"), given.pop("top_k")
    validate_part("target", target)
    for token in tokens:
        validate_part("token", token)
    tokens, target = tokens_and_target(tokens, target)
    kinds: dict[str, type[Any]] = {"n_layers": int, "n_heads": int, "value": float, "min_share": float}
    return TreeMetadata(
        tokens=tokens,
        target=target,
        top_k=None if top_k is None else _checked(top_k, int),
        **{name: _checked(value, kinds.get(name, str)) for name, value in given.items()},
    )


def _checked(value: Any, kind: type[Any]) -> Any:
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if type(value) is not kind or kind is float:
        raise ValueError(f"expected {'a finite number' if kind is float else kind.__name__}, got {value!r}")
    if kind is int and not -(2**31) <= value < 2**31:
        raise ValueError(f"the integer {value} is out of range")
    return value
