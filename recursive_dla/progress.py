"""A progress bar for what takes longer than a moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
DELAY = 2.0


def tracked(steps: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    """``steps`` as they are, with a bar on stderr once they have taken two seconds, if that is a terminal.

    The bar disappears at the end, and on an interruption.
    """
    if not sys.stderr.isatty():
        yield from steps
        return
    from rich.console import Console
    from rich.progress import Progress

    start = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        task = progress.add_task(description, total=total, visible=False)
        for done, step in enumerate(steps):
            yield step
            late = time.monotonic() - start > DELAY
            progress.update(task, completed=done + 1, visible=late, refresh=late)
