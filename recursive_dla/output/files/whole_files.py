"""Files that are written and read whole: none is ever seen half, and none too large is read."""

from __future__ import annotations

from pathlib import Path

from recursive_dla.safe_files import replacing

# No file that this package reads is larger, neither packed nor unpacked.
MAX_BYTES = 1 << 30


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
