"""Graphs in the package's own JSON, plain and gzipped."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from recursive_dla.graphs.data import GraphData
from recursive_dla.output.files.graph_document import graph_document, graph_from_document
from recursive_dla.output.files.strict_json import json_lines, parse_json
from recursive_dla.output.files.whole_files import MAX_BYTES, decode, read_bytes, read_text, write_bytes, write_text

_GZIP_LEVEL = 6
# Graphs of this package pack about ten to one. What unpacks to far more was made to fill the memory.
_UNPACKED_FLOOR, _UNPACKED_RATIO = 1 << 24, 100


def json_text(graph: GraphData) -> str:
    """The graph's document, one node or edge to a line, so that two graphs can be compared line by line."""
    return json_lines(graph_document(graph), "nodes", "edges")


def write_json(graph: GraphData, path: Path) -> None:
    write_text(path, json_text(graph))


def read_json(path: Path) -> GraphData:
    return graph_from_document(parse_json(read_text(path)))


def write_json_gz(graph: GraphData, path: Path) -> None:
    packed = io.BytesIO()
    # Without a name and a time, the same graph gives the same bytes.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=packed, mtime=0) as file:
        file.write(json_text(graph).encode("utf-8", "backslashreplace"))
    write_bytes(path, packed.getvalue())


def read_json_gz(path: Path) -> GraphData:
    return graph_from_document(parse_json(decode(unpack(read_bytes(path)))))


def unpack(packed: bytes) -> bytes:
    """What gzip packed, unless it is out of all proportion.

    Raises:
        ValueError: It is not gzip, broken, or unpacks to more than a graph would.
    """
    limit = min(MAX_BYTES, _UNPACKED_FLOOR + _UNPACKED_RATIO * len(packed))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            data = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"it is not whole gzip data: {error}") from None
    if len(data) > limit:
        raise ValueError(f"its {len(packed):,} bytes unpack to more than {limit:,}, as no graph does")
    return data
