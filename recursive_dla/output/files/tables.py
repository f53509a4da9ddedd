"""Tables: the nodes in one file, the edges in another, as CSV for spreadsheets or Parquet for pandas and the like.

``graph.csv`` stands for ``graph.nodes.csv``, ``graph.edges.csv`` and ``graph.metadata.json``, which holds what no table
can. ``graph.parquet`` stands for ``graph.nodes.parquet`` and ``graph.edges.parquet``, with the same in their metadata.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from recursive_dla.attribution.labels import token_label
from recursive_dla.graphs.data import GraphData
from recursive_dla.output.files.graph_document import (
    NODE_COLUMNS,
    edge_columns,
    graph_from_columns,
    head_document,
    node_columns,
)
from recursive_dla.output.files.strict_json import parse_json
from recursive_dla.output.files.whole_files import read_bytes, read_text, write_bytes, write_text

if TYPE_CHECKING:
    import pyarrow as pa

# Under this key a Parquet file holds the document's head.
_HEAD = b"recursive_dla"
# Runs of equal values take next to no room in a Parquet file; a small one could claim any number of rows.
_MAX_ROWS = 20_000_000
# A spreadsheet would take text that starts so for a formula.
_FORMULA = ("=", "+", "-", "@")


def csv_files(path: Path) -> tuple[Path, ...]:
    return (*_pair(path, ".csv"), _stem(path, ".csv").with_name(_stem(path, ".csv").name + ".metadata.json"))


def parquet_files(path: Path) -> tuple[Path, ...]:
    return _pair(path, ".parquet")


def _pair(path: Path, ending: str) -> tuple[Path, Path]:
    stem = _stem(path, ending)
    return stem.with_name(f"{stem.name}.nodes{ending}"), stem.with_name(f"{stem.name}.edges{ending}")


def _stem(path: Path, ending: str) -> Path:
    """``path`` without its ending: either file's name will do for the pair."""
    name = path.name[: -len(ending)]
    for part in (".nodes", ".edges"):
        if name.lower().endswith(part) and len(name) > len(part):
            name = name[: -len(part)]
            break
    return path.with_name(name)


# --- CSV -------------------------------------------------------------------------------------------------------------


def write_csv(graph: GraphData, path: Path) -> None:
    nodes, edges, head = csv_files(path)
    write_text(head, json.dumps(head_document(graph), ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    write_text(nodes, _csv(_node_table(graph)))
    write_text(edges, _csv(_edge_table(graph)))


def _node_table(graph: GraphData) -> pd.DataFrame:
    table = pd.DataFrame(node_columns(graph))
    table["head"] = table["head"].astype("Int64")
    texts = [token.text for token in graph.metadata.tokens]
    # With its position in front and its line ends made visible, a token is neither a formula nor several rows.
    table.insert(6, "token", [token_label(pos, texts[pos]) for pos in table["pos"]])
    return table


def _edge_table(graph: GraphData) -> pd.DataFrame:
    source, target, weight = edge_columns(graph)
    return pd.DataFrame({"source": source, "target": target, "weight": weight})


def _csv(table: pd.DataFrame) -> str:
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = [_guarded(text) for text in table[name]]
    return table.to_csv(index=False, lineterminator="\n")


def _guarded(text: str) -> str:
    """``text`` with an apostrophe in front if it could be a formula, or already has one."""
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def read_csv(path: Path) -> GraphData:
    nodes, edges, head = csv_files(path)
    node_table, edge_table = _table(nodes, list(NODE_COLUMNS)), _table(edges, ["source", "target", "weight"])
    columns: dict[str, list[Any]] = {
        name: [_value(text, kind) for text in node_table[name]] for name, kind in NODE_COLUMNS.items()
    }
    source, target = ([_value(text, str) for text in edge_table[end]] for end in ("source", "target"))
    weight = [_value(text, float) for text in edge_table["weight"]]
    return graph_from_columns(parse_json(read_text(head)), columns, source, target, weight)


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    text = read_text(path)
    # As text: what a column means is ours to say, and pandas would guess.
    table = pd.read_csv(io.StringIO(text), dtype=str, na_filter=False, index_col=False)
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"{path.name!r} has no column {missing[0]!r}")
    return table


def _value(text: str, kind: type) -> Any:
    if kind is str:
        return text.removeprefix("'")
    if text == "":
        return None
    return kind(text)


# --- Parquet ---------------------------------------------------------------------------------------------------------


def write_parquet(graph: GraphData, path: Path) -> None:
    nodes, edges = parquet_files(path)
    head = json.dumps(head_document(graph), ensure_ascii=True, allow_nan=False).encode()
    write_bytes(nodes, _parquet(_arrow_nodes(graph), head))
    write_bytes(edges, _parquet(_arrow_edges(graph), head))


def _arrow_nodes(graph: GraphData) -> pa.Table:
    import pyarrow as pa

    columns, nodes = node_columns(graph), graph.nodes
    texts = [token.text.encode("utf-8", "backslashreplace").decode() for token in graph.metadata.tokens]
    return pa.table(
        {
            **{name: pa.array(columns[name], pa.string()) for name in ("id", "kind", "component")},
            **{name: pa.array(columns[name], pa.int32()) for name in ("layer", "head", "pos")},
            "token": pa.array([texts[pos] for pos in columns["pos"]], pa.string()),
            **{name: pa.array(nodes[name].to_numpy()) for name in ("attribution", "rest_in", "rest_out")},
        }
    )


def _arrow_edges(graph: GraphData) -> pa.Table:
    import pyarrow as pa

    source, target, _ = edge_columns(graph)
    return pa.table(
        {
            "source": pa.array(source, pa.string()),
            "target": pa.array(target, pa.string()),
            "weight": pa.array(graph.edge_weight),
        }
    )


def _parquet(table: pa.Table, head: bytes) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({_HEAD: head}), sink, compression="zstd")
    return sink.getvalue()


def read_parquet(path: Path) -> GraphData:
    nodes, edges = (_arrow(file) for file in parquet_files(path))
    head = (nodes.schema.metadata or {}).get(_HEAD)
    if head is None or (edges.schema.metadata or {}).get(_HEAD) != head:
        raise ValueError("the two files do not hold the same metadata of a graph")
    return graph_from_columns(
        parse_json(head.decode()),
        {name: nodes.column(name).to_pylist() for name in NODE_COLUMNS},
        *(edges.column(end).to_pylist() for end in ("source", "target", "weight")),
    )


def _arrow(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(read_bytes(path)), thrift_string_size_limit=1 << 26)
    if file.metadata.num_rows > _MAX_ROWS:
        raise ValueError(f"{path.name!r} claims {file.metadata.num_rows:,} rows, and at most {_MAX_ROWS:,} are read")
    return file.read()
