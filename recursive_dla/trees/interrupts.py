"""Stopping long work cleanly: the first Ctrl-C asks it to end at the next good moment, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within the block, a first Ctrl-C only sets ``requested``; after it, Ctrl-C does what it did before.

    Outside the main thread, where Python delivers no signals, nothing changes.

    Example:
        >>> with interruptible() as interrupt:
        ...     done = [step for step in range(3) if not interrupt.requested]
        >>> done
        [0, 1, 2]
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        interrupt.requested = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
