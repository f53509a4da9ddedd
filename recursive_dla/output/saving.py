"""Which formats there are, and a graph to any of them and back; the end of a path's name chooses.

``docs/format.md`` describes each. To add one, write it in a module of ``files/`` and enter it in :data:`FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recursive_dla.errors import InputError
from recursive_dla.graphs.data import GraphData
from recursive_dla.output.explorer import page_file
from recursive_dla.output.figures import pictures
from recursive_dla.output.files import circuit_viewers, diagrams, graph_json, networks, tables
from recursive_dla.output.files.graph_document import check_names
from recursive_dla.safe_files import check_place, reading


def _itself(path: Path) -> tuple[Path, ...]:
    return (path,)


def _nothing(path: Path) -> None:
    """What most formats have to check."""


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        endings: What the names of its files end in, lower-case; the first is the usual one.
        write: Writes a graph to a path, whole or not at all.
        read: The graph in a path, or an exception that tells why there is none; ``None`` if nothing can be read back.
        files: The files that a path stands for; most formats have one.
        check: Fails if a graph cannot be written to a path, for reasons of the format's own.
        needs: A module that must be importable, and the extra of this package that installs it.
    """

    endings: tuple[str, ...]
    write: Callable[[GraphData, Path], None]
    read: Callable[[Path], GraphData] | None = None
    files: Callable[[Path], tuple[Path, ...]] = _itself
    check: Callable[[Path], None] = _nothing
    needs: tuple[str, str] | None = None

    def check_installed(self) -> None:
        """Whether what it needs is there.

        Raises:
            InputError: It is not; says how to install it.
        """
        from importlib.util import find_spec

        if self.needs is not None and find_spec(self.needs[0]) is None:
            module, extra = self.needs
            raise InputError(
                f"Writing and reading {self.endings[0]} needs {module}: pip install 'recursive-dla[{extra}]'."
            )


_PICTURES = ("kaleido", "pictures")
_PARQUET = ("pyarrow", "parquet")

FORMATS: tuple[Format, ...] = (
    Format((".json",), graph_json.write_json, graph_json.read_json),
    Format((".json.gz",), graph_json.write_json_gz, graph_json.read_json_gz),
    Format((".html",), page_file.write_page, page_file.read_page),
    Format((".csv",), tables.write_csv, tables.read_csv, files=tables.csv_files),
    Format((".parquet",), tables.write_parquet, tables.read_parquet, files=tables.parquet_files, needs=_PARQUET),
    Format((".graphml",), networks.write_graphml, networks.read_graphml),
    Format((".gexf",), networks.write_gexf),
    Format((".node-link.json",), networks.write_node_link, networks.read_node_link),
    Format((".dot", ".gv"), diagrams.write_dot),
    Format((".mmd", ".mermaid"), diagrams.write_mermaid),
    Format((".svg",), pictures.write_svg, needs=_PICTURES),
    Format((".png",), pictures.write_png, needs=_PICTURES),
    Format(
        (".circuit.json",),
        circuit_viewers.write_viewer_json,
        files=circuit_viewers.viewer_files,
        check=circuit_viewers.check_list,
    ),
)
_BY_ENDING = {ending: file_format for file_format in FORMATS for ending in file_format.endings}


def format_of(path: Path) -> Format:
    """The format of a path, by the longest ending that its name has.

    Raises:
        InputError: The name ends as in no format.
    """
    name = path.name.lower()
    found = [ending for ending in _BY_ENDING if name.endswith(ending) and len(name) > len(ending)]
    if not found:
        raise InputError(f"No format is known for {str(path)!r}. Use one of the extensions {', '.join(_BY_ENDING)}.")
    return _BY_ENDING[max(found, key=len)]


def check_writable(path: Path) -> Format:
    """The format of a path; fails now rather than after the work.

    Raises:
        InputError: The extension names no format, what the format needs is not installed, or nothing can be written
            there.
    """
    chosen = format_of(path)
    chosen.check_installed()
    for file in chosen.files(path):
        check_place(file)
    chosen.check(path)
    return chosen


def check_readable(path: Path) -> Format:
    """The format of a path that a graph can be loaded from.

    Raises:
        InputError: The extension names no such format, or what the format needs is not installed.
    """
    chosen = format_of(path)
    if chosen.read is None:
        readable = ", ".join(other.endings[0] for other in FORMATS if other.read is not None)
        raise InputError(
            f"Graphs are only written to {chosen.endings[0]}, not read from it; got {str(path)!r}."
            f" Load one of {readable}."
        )
    chosen.check_installed()
    return chosen


def save(graph: GraphData, path: Path) -> Path:
    """Write ``graph`` to ``path``, whole or not at all."""
    chosen = format_of(path)
    chosen.check_installed()
    check_names(graph)
    chosen.write(graph, path)
    return path


def load(path: Path) -> GraphData:
    """Read what :func:`save` wrote, in any format that loses nothing."""
    read = check_readable(path).read
    assert read is not None
    with reading(path, "an attribution graph"):
        return read(path)
