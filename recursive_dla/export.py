"""Graphs to files and back. A format is one entry in :data:`WRITERS`, chosen by the path's extension."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recursive_dla.errors import InputError
from recursive_dla.files import replacing
from recursive_dla.graph import AttributionGraph, GraphMetadata, GraphTarget, Member, Token

FORMAT = "recursive_dla.attribution_graph"
VERSION = 1
# A page with more edges than this takes a browser longer to open than to look at.
MAX_PAGE_EDGES = 200_000

_NODE_FIELDS = {"id": str, "kind": str, "component": str, "layer": int, "head": int, "pos": int}
_METADATA_FIELDS = {
    "model": str,
    "n_layers": int,
    "n_heads": int,
    "value": float,
    "completeness_error": float,
    "rule": str,
    "generator": str,
}
_NODE_NUMBERS = ("attribution", "rest_in", "rest_out")


def save(graph: AttributionGraph, path: Path) -> Path:
    """Write ``graph`` to ``path``; the public face of this is :meth:`AttributionGraph.save`."""
    writer = writer_for(path)
    write_atomically(path, writer(graph))
    return path


def writer_for(path: Path) -> Callable[[AttributionGraph], str]:
    """The writer of a path's format; for checking a path before work starts.

    Raises:
        InputError: The extension names no format.
    """
    try:
        return WRITERS[path.suffix.lower()]
    except KeyError:
        raise InputError(
            f"No format is known for {str(path)!r}. Use one of the extensions {', '.join(WRITERS)}."
        ) from None


def check_writable(path: Path) -> None:
    """Fail now rather than after the work.

    Raises:
        InputError: The extension names no format, or nothing can be written there.
    """
    writer_for(path)
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; give the path of a file.")
    if not path.parent.is_dir():
        raise InputError(f"The folder {str(path.parent)!r} does not exist; create it or choose another.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"The folder {str(path.parent)!r} cannot be written to; choose another.")


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` beside ``path`` and move it into place, so that no reader ever sees half a file.

    Raises:
        InputError: The file cannot be written; nothing is left behind.
    """
    with replacing(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def metadata_document(metadata: GraphMetadata) -> dict[str, Any]:
    """A graph's metadata as plain JSON types."""
    document = asdict(metadata)
    document["tokens"] = [asdict(token) for token in metadata.tokens]
    document["pruning"] = None if metadata.pruning is None else dict(metadata.pruning)
    del document["groups"]
    if metadata.groups:
        document["groups"] = {
            name: [_with_head(asdict(member)) for member in members] for name, members in metadata.groups.items()
        }
    return {"prompt": metadata.prompt, **document}


def _with_head(row: dict[str, Any]) -> dict[str, Any]:
    """A node's columns, with nothing where it has no head."""
    return {**row, "head": None if row["head"] < 0 else row["head"]}


def graph_document(graph: AttributionGraph) -> dict[str, Any]:
    """A graph as plain JSON types: ``format``, ``version``, ``dtype``, ``metadata``, ``nodes`` and ``edges``.

    Numbers have as many digits as their type needs to be read back exactly.
    """
    columns = {name: graph.nodes[name].tolist() for name in _NODE_FIELDS}
    columns["head"] = [None if head < 0 else head for head in columns["head"]]
    columns |= {name: _shortest(graph.nodes[name].to_numpy()) for name in _NODE_NUMBERS}
    nodes = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    ids = graph.nodes["id"].to_numpy()
    weights = _shortest(graph.edge_weight)
    ends = zip(ids[graph.edge_source].tolist(), ids[graph.edge_target].tolist(), weights, strict=True)
    return {
        "format": FORMAT,
        "version": VERSION,
        "dtype": str(graph.edge_weight.dtype),
        "metadata": metadata_document(graph.metadata),
        "nodes": nodes,
        "edges": [{"source": source, "target": target, "weight": weight} for source, target, weight in ends],
    }


def _shortest(numbers: np.ndarray) -> list[float]:
    """Floats whose printed form is the shortest that reads back to the same value of the array's own type."""
    if numbers.dtype == np.float64:
        return numbers.tolist()
    return [float(str(number)) for number in numbers]


def _json(graph: AttributionGraph) -> str:
    """One record to a line, so that two graphs can be compared line by line."""
    document = graph_document(graph)
    records = {"nodes": document.pop("nodes"), "edges": document.pop("edges")}
    head = _dump(document)[:-1]
    return head + "".join(f',\n"{name}": {_lines(rows)}' for name, rows in records.items()) + "}\n"


def _lines(rows: Iterable[Any]) -> str:
    return "[\n" + ",\n".join(map(_dump, rows)) + "\n]"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _html(graph: AttributionGraph) -> str:
    from recursive_dla.viewer import render_page

    if len(graph.edge_weight) > MAX_PAGE_EDGES:
        raise InputError(
            f"A page holds at most {MAX_PAGE_EDGES:,} edges, and the graph has {len(graph.edge_weight):,}."
            " Prune it first: graph.prune(max_edges=5000).save(...)."
        )
    return render_page(graph_document(graph))


WRITERS: dict[str, Callable[[AttributionGraph], str]] = {".json": _json, ".html": _html}


def load(path: Path) -> AttributionGraph:
    """Read what :func:`save` wrote as JSON; the public face of this is :meth:`AttributionGraph.load`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{str(path)!r} cannot be read: {reason}.") from error
    try:
        return _graph(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{str(path)!r} does not hold an attribution graph: {reason}.") from error


def _graph(document: dict[str, Any]) -> AttributionGraph:
    if document["format"] != FORMAT or document["version"] != VERSION:
        raise ValueError(f"expected {FORMAT} version {VERSION}, got {document['format']!r} {document['version']!r}")
    dtype = np.dtype(document["dtype"])
    if dtype.kind != "f":
        raise ValueError(f"`dtype` must be a floating-point type, got {dtype}")
    metadata = _metadata(document["metadata"])
    rows = [{**row, "head": -1 if row["head"] is None else row["head"]} for row in document["nodes"]]
    nodes = pd.DataFrame({name: [_checked(row[name], kind) for row in rows] for name, kind in _NODE_FIELDS.items()})
    if any(not 0 <= pos < len(metadata.tokens) for pos in nodes["pos"]):
        raise ValueError("a node's `pos` is not the position of a token")
    nodes["token"] = [metadata.tokens[pos].text for pos in nodes["pos"]]
    for name in _NODE_NUMBERS:
        nodes[name] = _numbers((row[name] for row in rows), dtype if name == "attribution" else np.dtype(np.float64))
    place = {node: row for row, node in enumerate(nodes["id"])}
    if len(place) < len(nodes):
        raise ValueError("two nodes have the same id")
    edges = document["edges"]
    return AttributionGraph(
        nodes=nodes,
        edge_source=np.array([place[edge["source"]] for edge in edges], dtype=np.int32),
        edge_target=np.array([place[edge["target"]] for edge in edges], dtype=np.int32),
        edge_weight=_numbers((edge["weight"] for edge in edges), dtype),
        metadata=metadata,
    )


def _metadata(document: dict[str, Any]) -> GraphMetadata:
    fields = {name: value for name, value in document.items() if name != "prompt"}
    tokens = tuple(
        Token(
            pos=_checked(token["pos"], int),
            token_id=_optional(token["token_id"], int),
            text=_checked(token["text"], str),
        )
        for token in fields.pop("tokens")
    )
    target = fields.pop("target")
    pruning = fields.pop("pruning")
    groups = fields.pop("groups", {})
    if pruning is not None and not isinstance(pruning, dict):
        raise ValueError(f"expected an object or null for `pruning`, got {pruning!r}")
    checked = {name: _checked(fields.pop(name), kind) for name, kind in _METADATA_FIELDS.items()}
    if fields:
        raise ValueError(f"`metadata` has the unknown field {next(iter(fields))!r}")
    return GraphMetadata(
        tokens=tokens,
        target=GraphTarget(
            label=_checked(target["label"], str),
            answer=_optional(target["answer"], str),
            wrong_answer=_optional(target["wrong_answer"], str),
            pos=_checked(target["pos"], int),
        ),
        pruning=pruning,
        groups={_checked(name, str): _members(members) for name, members in groups.items()},
        **checked,
    )


def _members(rows: list[dict[str, Any]]) -> tuple[Member, ...]:
    if not rows:
        raise ValueError("a group has no members")
    return tuple(map(_member, rows))


def _member(row: dict[str, Any]) -> Member:
    row = {**row, "head": -1 if row["head"] is None else row["head"]}
    columns: dict[str, Any] = {name: _checked(row[name], kind) for name, kind in _NODE_FIELDS.items()}
    return Member(**columns, attribution=_checked(row["attribution"], float))


def _optional(value: Any, kind: type) -> Any:
    return None if value is None else _checked(value, kind)


def _checked(value: Any, kind: type) -> Any:
    if kind is float:
        return float(_numbers([value], np.dtype(np.float64))[0])
    if type(value) is not kind:
        raise ValueError(f"expected {kind.__name__}, got {value!r}")
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        raise ValueError(f"the integer {value} is out of range")
    return value


def _numbers(values: Iterable[Any], dtype: np.dtype) -> np.ndarray:
    numbers = list(values)
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError("a weight or attribution is not a finite number")
    with np.errstate(over="ignore"):
        array = np.array(numbers, dtype=np.float64).astype(dtype)
    if not np.isfinite(array).all():
        raise ValueError("a weight or attribution is not a finite number")
    return array
