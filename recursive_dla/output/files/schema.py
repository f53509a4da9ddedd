"""The JSON Schema of the package's own formats, and whether a document keeps to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

FORMAT = "recursive_dla.attribution_graph"
VERSION = 1
TREE_FORMAT = "recursive_dla.attribution_tree"
TREE_VERSION = 1


@cache
def schema() -> dict[str, Any]:
    """The schema of graphs, as it is shipped in ``schema.json``; that of trees is its definition ``tree``.

    Example:
        >>> from recursive_dla.output.files.schema import schema
        >>> schema()["required"]
        ['format', 'version', 'dtype', 'metadata', 'nodes', 'edges']
    """
    return json.loads(resources.files(__package__).joinpath("schema.json").read_text(encoding="utf-8"))


def validate(document: Any) -> None:
    """Whether ``document`` keeps to the schema of graphs.

    Raises:
        ValueError: It does not; says where and how.
    """
    _check_version(document, FORMAT, VERSION)
    _check(_graph(), document)


def validate_head(head: Any) -> None:
    """:func:`validate`, of a document that holds no nodes and edges: formats made of tables keep those elsewhere.

    Raises:
        ValueError: It breaks the schema.
    """
    _check_version(head, FORMAT, VERSION)
    _check(_graph(), {**head, "nodes": [], "edges": []})


def validate_tree(document: Any) -> None:
    """Whether ``document`` keeps to the schema of trees.

    Raises:
        ValueError: It does not; says where and how.

    Example:
        >>> from recursive_dla.output.files.schema import validate_tree
        >>> validate_tree({"format": "recursive_dla.attribution_tree", "version": 1, "metadata": [], "nodes": []})
        Traceback (most recent call last):
        ValueError: metadata must be object
    """
    _check_version(document, TREE_FORMAT, TREE_VERSION)
    _check(_tree(), document)


def _check_version(document: Any, expected: str, version: int) -> None:
    """Before anything else, so that a file of a later version is not called broken."""
    if not isinstance(document, dict):
        raise ValueError(f"expected an object, got {type(document).__name__}")
    found, its_version = document.get("format"), document.get("version")
    if found != expected:
        what = "has no `format`" if found is None else f"is {str(found)[:80]!r}"
        raise ValueError(f"expected {expected} version {version}, and this {what}")
    if type(its_version) is int and its_version > version:
        raise ValueError(
            f"it is of version {its_version}, which a later recursive_dla wrote; this one reads up to version"
            f" {version}. Upgrade it"
        )


def _check(validator: Callable[..., Any], document: Any) -> None:
    from fastjsonschema import JsonSchemaValueException

    try:
        validator(document)
    except JsonSchemaValueException as error:
        raise ValueError(error.message.removeprefix("data.")[:300]) from None


@cache
def _graph() -> Callable[[Any], Any]:
    import fastjsonschema

    return fastjsonschema.compile(schema(), use_default=False, use_formats=False)


@cache
def _tree() -> Callable[[Any], Any]:
    import fastjsonschema

    whole = schema()
    tree = {"$schema": whole["$schema"], "$ref": "#/definitions/tree", "definitions": whole["definitions"]}
    return fastjsonschema.compile(tree, use_default=False, use_formats=False)
