"""Writing files so that no reader ever sees half of one."""

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
