"""Writing files so that no reader ever sees half of one, and what to say of files that cannot be written or read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from recursive_dla.errors import InputError


@contextmanager
def replacing(path: Path, mode: str, **options: Any) -> Iterator[IO[Any]]:
    """A file beside ``path`` to write to, moved into place at the end; ``mode`` and ``options`` as ``open`` takes them.

    Raises:
        InputError: The file cannot be written; nothing is left behind.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            mode, dir=path.parent, prefix=f".{path.name}.", delete=False, **options
        ) as file:
            temporary = Path(file.name)
            yield file
        # The temporary file is private; give it the permissions a plain open() would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Whether there can be a file at ``path``; to be asked before the work that makes it.

    Raises:
        InputError: It is a folder, or its folder does not exist or cannot be written to.
    """
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; give the path of a file.")
    if not path.parent.is_dir():
        raise InputError(f"The folder {str(path.parent)!r} does not exist; create it or choose another.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"The folder {str(path.parent)!r} cannot be written to; choose another.")


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Within the block, whatever goes wrong tells that ``path`` cannot be read, or does not hold ``what``.

    Raises:
        InputError: Any exception was raised.
    """
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise InputError(_refusal(path, what, error)) from error
        raise InputError(f"{str(error.filename or path)!r} cannot be read: {error.strerror}.") from error
    # A file can break the parsers of other libraries in ways of their own; whatever it was, it did not hold that.
    except Exception as error:
        raise InputError(_refusal(path, what, error)) from error


def _refusal(path: Path, what: str, error: Exception) -> str:
    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
    return f"{str(path)!r} does not hold {what}: {' '.join(reason.split())[:400].rstrip('.')}."
