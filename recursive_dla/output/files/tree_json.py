"""Trees to JSON and back.

The document keeps to the definition ``tree`` of ``schema.json``. Its ``nodes`` have the columns of
:attr:`recursive_dla.AttributionTree.nodes` but ``token`` and ``share``, which follow from the others. Weights are in
logits, with the digits that it takes to read them back exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recursive_dla.errors import InputError
from recursive_dla.output.files.graph_document import provenance_document, tokens_and_target, with_integers
from recursive_dla.output.files.schema import TREE_FORMAT, TREE_VERSION, validate_tree
from recursive_dla.output.files.strict_json import json_lines, parse_json
from recursive_dla.output.files.whole_files import read_text, write_text
from recursive_dla.safe_files import check_place, reading
from recursive_dla.trees.data import COLUMNS, TreeData, TreeMetadata

# The columns of a document's nodes, in order, with what they hold.
_COLUMNS: dict[str, type] = {
    "parent": int, "depth": int, "id": str, "kind": str, "component": str, "layer": int, "head": int, "pos": int,
    "weight": float, "expanded": bool, "sources": int, "largest": float,
}  # fmt: skip
# Integers of which -1 in the table is null in the document.
_OPTIONAL = ("parent", "head", "pos")


def tree_document(tree: TreeData) -> dict[str, Any]:
    """A tree as plain JSON types."""
    columns = {name: tree.nodes[name].tolist() for name in _COLUMNS}
    for name in _OPTIONAL:
        columns[name] = [None if value < 0 else value for value in columns[name]]
    nodes = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    metadata = provenance_document(tree.metadata)
    return {"format": TREE_FORMAT, "version": TREE_VERSION, "metadata": metadata, "nodes": nodes}


def check_writable(path: Path) -> None:
    """Fail now rather than after the work.

    Raises:
        InputError: The extension is not ``.json``, or nothing can be written there.
    """
    if path.suffix.lower() != ".json":
        raise InputError(f"Trees are saved as .json. Got {str(path)!r}.")
    check_place(path)


def save(tree: TreeData, path: Path) -> Path:
    """Write ``tree`` to ``path``."""
    check_writable(path)
    # One node to a line, so that two trees can be compared line by line.
    write_text(path, json_lines(tree_document(tree), "nodes"))
    return path


def load(path: Path) -> TreeData:
    """Read what :func:`save` wrote."""
    with reading(path, "an attribution tree"):
        return _tree(parse_json(read_text(path)))


def _tree(document: Any) -> TreeData:
    """The tree of a document; what the schema cannot say is checked here."""
    validate_tree(document)
    metadata = _metadata(document["metadata"])
    nodes = pd.DataFrame(
        {
            name: [-1 if row[name] is None else kind(row[name]) for row in document["nodes"]]
            for name, kind in _COLUMNS.items()
        }
    )
    parent = nodes["parent"].tolist()
    if parent[0] != -1 or any(not 0 <= number < row for row, number in enumerate(parent[1:], 1)):
        raise ValueError("a node's `parent` is not a node before it")
    if nodes["pos"].max() >= len(metadata.tokens):
        raise ValueError("a node's `pos` is not the position of a token")
    texts = [*(token.text for token in metadata.tokens), ""]
    nodes["token"] = [texts[pos] for pos in nodes["pos"]]
    root = nodes["weight"][0]
    nodes["share"] = nodes["weight"] / root if root else math.nan
    return TreeData(nodes[list(COLUMNS)], metadata)


def _metadata(document: Mapping[str, Any]) -> TreeMetadata:
    fields = with_integers(document, "n_layers", "n_heads", "top_k")
    fields.pop("prompt", None)
    tokens, target = tokens_and_target(fields.pop("tokens"), fields.pop("target"))
    fields.update({name: float(fields[name]) for name in ("value", "min_share")})
    return TreeMetadata(tokens=tokens, target=target, **fields)
