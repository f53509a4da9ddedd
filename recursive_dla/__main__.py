"""Where ``recursive-dla`` and ``python -m recursive_dla`` start, before there is anything that takes long to import."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_INTERRUPTED = 130


def main() -> None:
    """Run the command line. Ctrl-C ends it without a word, from the first moment on."""
    try:
        before = signal.getsignal(signal.SIGINT)
        # An exception in the middle of an import can be printed, swallowed or turned into another, and nothing has
        # begun yet. One who had Ctrl-C ignored keeps that.
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, _leave)
        from recursive_dla.cli import main as run

        signal.signal(signal.SIGINT, before)
        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
