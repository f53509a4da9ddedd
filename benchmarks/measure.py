"""Timing and memory for the benchmarks: warmed up, the median of several runs, the two sides taken in turn."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def medians(*sides: Callable[[], Any], runs: int = 7, warmups: int = 2) -> list[float]:
    """The median seconds of each side; sides alternate, so that a busy moment hits all of them."""
    for side in sides * warmups:
        side()
    seconds: list[list[float]] = [[] for _ in sides]
    for _ in range(runs):
        for taken, side in zip(seconds, sides, strict=True):
            start = time.perf_counter()
            side()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def machine() -> str:
    """What the figures were measured on."""
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )
