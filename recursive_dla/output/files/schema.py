"""The JSON Schema of the package's own format, and whether a document keeps to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

FORMAT = "recursive_dla.attribution_graph"
VERSION = 1


@cache
def schema() -> dict[str, Any]:
    """The schema, as it is shipped in ``schema.json``.

    Example:
        >>> from recursive_dla.output.files.schema import schema
        >>> schema()["required"]
        ['format', 'version', 'dtype', 'metadata', 'nodes', 'edges']
    """
    return json.loads(resources.files(__package__).joinpath("schema.json").read_text(encoding="utf-8"))


def validate(document: Any) -> None:
    """Whether ``document`` keeps to the schema.

    Raises:
        ValueError: It does not; says where and how.
    """
    _check_version(document)
    _check(_whole(), document)


def validate_head(head: Any) -> None:
    """:func:`validate`, of a document that holds no nodes and edges: formats made of tables keep those elsewhere.

    Raises:
        ValueError: It breaks the schema.
    """
    _check_version(head)
    _check(_whole(), {**head, "nodes": [], "edges": []})


def validate_part(name: str, value: Any) -> None:
    """Whether a part of a document keeps to what the schema says of its kind.

    Args:
        name: The kind, among the schema's definitions.
        value: The part.

    Raises:
        ValueError: It does not; says where and how.

    Example:
        >>> from recursive_dla.output.files.schema import validate_part
        >>> validate_part("token", {"pos": 0, "token_id": 7})
        Traceback (most recent call last):
        ValueError: token must contain ['text'] properties
    """
    _check(_part(name), value, name)


def _check_version(document: Any) -> None:
    """Before anything else, so that a file of a later version is not called broken."""
    if not isinstance(document, dict):
        raise ValueError(f"expected an object, got {type(document).__name__}")
    found, version = document.get("format"), document.get("version")
    if found != FORMAT:
        what = "has no `format`" if found is None else f"is {str(found)[:80]!r}"
        raise ValueError(f"expected {FORMAT} version {VERSION}, and this {what}")
    if type(version) is int and version > VERSION:
        raise ValueError(
            f"it is of version {version}, which a later recursive_dla wrote; this one reads up to version {VERSION}."
            " Upgrade it"
        )


def _check(validator: Callable[..., Any], document: Any, name: str | None = None) -> None:
    from fastjsonschema import JsonSchemaValueException

    try:
        validator(document)
    except JsonSchemaValueException as error:
        message = error.message if name is None else name + error.message.removeprefix("data")
        raise ValueError(message.removeprefix("data.")[:300]) from None


@cache
def _whole() -> Callable[[Any], Any]:
    import fastjsonschema

    return fastjsonschema.compile(schema(), use_default=False, use_formats=False)


@cache
def _part(name: str) -> Callable[[Any], Any]:
    import fastjsonschema

    whole = schema()
    part = {"$schema": whole["$schema"], "$ref": f"#/definitions/{name}", "definitions": whole["definitions"]}
    return fastjsonschema.compile(part, use_default=False, use_formats=False)
