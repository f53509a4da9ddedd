"""What a file format is: how a graph is written to it, and how one is read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recursive_dla.errors import InputError
from recursive_dla.graphs.data import GraphData
from recursive_dla.safe_files import replacing

# No file that this package reads is larger, neither packed nor unpacked.
MAX_BYTES = 1 << 30


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


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path`` and move it into place, so that no reader ever sees half a file.

    Raises:
        InputError: The file cannot be written; nothing is left behind.
    """
    with replacing(path, "wb") as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """:func:`write_bytes` in UTF-8, whatever is in the text.

    Half of a surrogate pair, which is no character, becomes the escape that JSON has for it.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, and at most {MAX_BYTES:,} are read")
    return path.read_bytes()


def read_text(path: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large, or not UTF-8.
    """
    return decode(read_bytes(path))


def decode(data: bytes) -> str:
    """``data`` as UTF-8.

    Raises:
        ValueError: It is not.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text ({error.reason} at byte {error.start})") from None
