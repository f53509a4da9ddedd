"""A graph as plain JSON types, and back: what every format that can be read is made from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from recursive_dla.attribution.provenance import GraphTarget, Provenance, Token
from recursive_dla.errors import InputError
from recursive_dla.graphs.data import GraphData, GraphMetadata, Member
from recursive_dla.output.files.schema import FORMAT, VERSION, schema, validate, validate_head

# The columns of a document's nodes, in order, with what they hold.
NODE_COLUMNS = {
    "id": str, "kind": str, "component": str, "layer": int, "head": int, "pos": int,
    "attribution": float, "rest_in": float, "rest_out": float,
}  # fmt: skip
_DEEPEST_PRUNING = 32
# When in its layer a node is written: constants, then heads, then what reads them.
_READS_AT = {"head": 1, "mlp": 2, "logit": 2}


def metadata_document(metadata: GraphMetadata) -> dict[str, Any]:
    """A graph's metadata as plain JSON types."""
    document = provenance_document(metadata)
    document["pruning"] = None if metadata.pruning is None else _sorted(metadata.pruning)
    del document["groups"]
    if metadata.groups:
        document["groups"] = {name: list(map(_member_document, members)) for name, members in metadata.groups.items()}
    return document


def provenance_document(provenance: Provenance) -> dict[str, Any]:
    """The fields of a metadata as plain JSON types, and the ``prompt``."""
    tokens = [asdict(token) for token in provenance.tokens]
    return {"prompt": provenance.prompt, **asdict(provenance), "tokens": tokens}


def _member_document(member: Member) -> dict[str, Any]:
    return {**asdict(member), "head": None if member.head < 0 else member.head}


def _sorted(value: Any) -> Any:
    """``value`` with its keys in order, so that equal ones are written the same."""
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def head_document(graph: GraphData) -> dict[str, Any]:
    """All of a document but its nodes and edges: ``format``, ``version``, ``dtype`` and ``metadata``."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "dtype": str(graph.edge_weight.dtype),
        "metadata": metadata_document(graph.metadata),
    }


def graph_document(graph: GraphData) -> dict[str, Any]:
    """A graph as plain JSON types: ``format``, ``version``, ``dtype``, ``metadata``, ``nodes`` and ``edges``.

    Numbers have as many digits as their type needs to be read back exactly.
    """
    columns = node_columns(graph)
    source, target, weight = edge_columns(graph)
    return {
        **head_document(graph),
        "nodes": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        "edges": [
            {"source": one, "target": other, "weight": size}
            for one, other, size in zip(source, target, weight, strict=True)
        ],
    }


def node_columns(graph: GraphData) -> dict[str, list[Any]]:
    """The nodes' columns as in a document; ``head`` is ``None`` where there is none."""
    columns: dict[str, list[Any]] = {}
    for name, kind in NODE_COLUMNS.items():
        values = graph.nodes[name]
        columns[name] = shortest(values.to_numpy()) if kind is float else values.tolist()
    columns["head"] = [None if head < 0 else head for head in columns["head"]]
    return columns


def check_names(graph: GraphData) -> None:
    """Whether ids fit on a line, as a file's must; a group may have any name.

    Raises:
        InputError: One does not.
    """
    pattern = re.compile(schema()["definitions"]["name"]["pattern"])
    for name in graph.nodes["id"]:
        if not pattern.search(name):
            raise InputError(f"Control characters and line ends cannot be in the id of a node. Got {name!r:.80}.")


def edge_columns(graph: GraphData) -> tuple[list[str], list[str], list[float]]:
    """Sources and targets of edges, by id, and their weights."""
    ids = graph.nodes["id"].to_numpy()
    return ids[graph.edge_source].tolist(), ids[graph.edge_target].tolist(), shortest(graph.edge_weight)


def shortest(numbers: np.ndarray) -> list[float]:
    """Floats whose printed form is the shortest that reads back to the same value of the array's own type."""
    if numbers.dtype == np.float64:
        return numbers.tolist()
    return [float(str(number)) for number in numbers]


def graph_from_document(document: Any) -> GraphData:
    """The graph of a document.

    Raises:
        ValueError: It breaks the schema, or what holds beyond the schema.
    """
    validate(document)
    nodes, edges = document["nodes"], document["edges"]
    return _graph(
        document,
        {name: [node[name] for node in nodes] for name in NODE_COLUMNS},
        *([edge[end] for edge in edges] for end in ("source", "target", "weight")),
    )


def graph_from_columns(
    head: Any,
    nodes: Mapping[str, Sequence[Any]],
    source: Sequence[str],
    target: Sequence[str],
    weight: Sequence[float],
) -> GraphData:
    """The graph of a document whose nodes and edges come as columns.

    Args:
        head: The document without them.
        nodes: The columns that :func:`node_columns` gives.
        source: The id of each edge's source.
        target: Of its destination.
        weight: What flows along it.

    Raises:
        ValueError: As :func:`graph_from_document`.
    """
    validate_head(head)
    return _graph(head, nodes, source, target, weight)


def _graph(
    head: Mapping[str, Any],
    nodes: Mapping[str, Sequence[Any]],
    source: Sequence[Any],
    target: Sequence[Any],
    weight: Sequence[Any],
) -> GraphData:
    dtype = np.dtype(head["dtype"])
    metadata = _metadata(head["metadata"])
    frame = _nodes(nodes, metadata, dtype)
    place = {node: row for row, node in enumerate(frame["id"])}
    if len(place) < len(frame):
        raise ValueError("two nodes have the same id")
    one, other = _rows(place, source, "source"), _rows(place, target, "target")
    _check_edges(one, other, frame)
    return GraphData(
        nodes=frame,
        edge_source=one,
        edge_target=other,
        edge_weight=_numbers("weight", weight, dtype),
        metadata=metadata,
    )


def _nodes(columns: Mapping[str, Sequence[Any]], metadata: GraphMetadata, dtype: np.dtype) -> pd.DataFrame:
    heads = [-1 if head is None else head for head in columns["head"]]
    nodes = pd.DataFrame(
        {
            **{name: _texts(name, columns[name]) for name in ("id", "kind", "component")},
            "layer": _integers("layer", columns["layer"], -1, metadata.n_layers),
            "head": _integers("head", heads, -1, max(metadata.n_heads, 1) - 1),
            "pos": _integers("pos", columns["pos"], 0, len(metadata.tokens) - 1),
        }
    )
    nodes["token"] = [metadata.tokens[pos].text for pos in nodes["pos"]]
    for name in ("attribution", "rest_in", "rest_out"):
        nodes[name] = _numbers(name, columns[name], dtype if name == "attribution" else np.dtype(np.float64))
    return nodes


def _metadata(document: Mapping[str, Any]) -> GraphMetadata:
    """What the schema has found to be well-formed; what it cannot say is checked here."""
    fields = {name: value for name, value in document.items() if name != "prompt"}
    tokens, target = tokens_and_target(fields.pop("tokens"), fields.pop("target"))
    fields = with_integers(fields, "n_layers", "n_heads")
    for name in ("value", "completeness_error"):
        fields[name] = _numbers(name, [fields[name]], np.dtype(np.float64)).item()
    _check_depth(fields["pruning"], _DEEPEST_PRUNING)
    groups = {name: tuple(map(_member, members)) for name, members in fields.pop("groups", {}).items()}
    if any(member.pos >= len(tokens) for members in groups.values() for member in members):
        raise ValueError("the `pos` of a group's member is not the position of a token")
    return GraphMetadata(tokens=tokens, target=target, groups=groups, **fields)


def tokens_and_target(
    tokens: Iterable[Mapping[str, Any]], target: Mapping[str, Any]
) -> tuple[tuple[Token, ...], GraphTarget]:
    """A document's tokens and target, which keep to the schema.

    Raises:
        ValueError: Positions that do not fit.
    """
    found = tuple(Token(**with_integers(token, "pos", "token_id")) for token in tokens)
    if [token.pos for token in found] != list(range(len(found))):
        raise ValueError("the tokens' `pos` must count from 0")
    explained = GraphTarget(**with_integers(target, "pos", "answer_id", "wrong_answer_id"))
    if explained.pos >= len(found):
        raise ValueError(f"the target's `pos` {explained.pos} is not the position of a token")
    return found, explained


def _member(document: Mapping[str, Any]) -> Member:
    fields = with_integers(document, "layer", "head", "pos")
    fields["head"] = -1 if fields["head"] is None else fields["head"]
    fields["attribution"] = _numbers("attribution", [fields["attribution"]], np.dtype(np.float64)).item()
    return Member(**fields)


def with_integers(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """``fields`` with those named as int; JSON knows numbers only, and 3.0 is as good as 3."""
    return {name: int(value) if name in names and value is not None else value for name, value in fields.items()}


def _check_depth(value: Any, room: int) -> None:
    if not room:
        raise ValueError(f"`pruning` is nested more than {_DEEPEST_PRUNING} deep")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(inner, room - 1)


def _texts(name: str, values: Sequence[Any]) -> list[str]:
    for value in values:
        if type(value) is not str or not value:
            raise ValueError(f"a node's `{name}` must be text, got {value!r:.80}")
    return list(values)


def _integers(name: str, values: Sequence[Any], low: int, high: int) -> np.ndarray:
    for value in values:
        if type(value) not in (int, float) or value != value // 1 or not low <= value <= high:
            raise ValueError(f"a node's `{name}` must be an integer from {low} to {high}, got {value!r:.80}")
    return np.array(values, dtype=np.int64)


def _numbers(name: str, values: Iterable[Any], dtype: np.dtype) -> np.ndarray:
    numbers = list(values)
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError(f"a `{name}` is not a number")
    with np.errstate(over="ignore"):
        array = np.array(numbers, dtype=np.float64).astype(dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"a `{name}` is not a finite number of type {dtype}")
    return array


def _rows(place: Mapping[str, int], ids: Sequence[Any], end: str) -> np.ndarray:
    try:
        return np.array([place[node] for node in ids], dtype=np.int32)
    except (KeyError, TypeError):
        unknown = next(node for node in ids if type(node) is not str or node not in place)
        raise ValueError(f"an edge's `{end}` is not the id of a node: {unknown!r:.80}") from None


def _check_edges(source: np.ndarray, target: np.ndarray, nodes: pd.DataFrame) -> None:
    if len(np.unique(source.astype(np.int64) * len(nodes) + target)) < len(source):
        raise ValueError("two edges have the same source and target")
    # In a model every component reads what was written before it; where that shows, there is no circle to look for.
    written = 3 * nodes["layer"].to_numpy() + nodes["kind"].map(_READS_AT).fillna(0).to_numpy(dtype=np.int64)
    if (written[source] < written[target]).all():
        return
    import networkx as nx

    digraph = nx.DiGraph()
    digraph.add_edges_from(zip(source.tolist(), target.tolist(), strict=True))
    if not nx.is_directed_acyclic_graph(digraph):
        raise ValueError("the edges have a cycle, and what flows to one number has none")
