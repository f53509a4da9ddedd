"""Timing and memory for the benchmarks: warmed up, the median of several runs."""

from __future__ import annotations

import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Clock = Callable[[], float]


def medians(
    *sides: Callable[[], Any], runs: int = 7, warmups: int = 2, clock: Clock = time.perf_counter
) -> list[float]:
    """The median seconds of each side, each warmed up by itself.

    One side after the other: a side that fills much memory would slow down whatever is run just behind it.
    """
    seconds = []
    for side in sides:
        taken = []
        for run in range(warmups + runs):
            start = clock()
            side()
            if run >= warmups:
                taken.append(clock() - start)
        seconds.append(statistics.median(taken))
    return seconds


def in_turns(
    *sides: Callable[[], Any], rounds: int = 5, runs: int = 5, clock: Clock = time.perf_counter
) -> list[list[float]]:
    """The median seconds of each side in each of several rounds, in which the sides take turns.

    Whatever else the machine does meets all sides alike, and where the rounds disagree, that is noise.
    """
    found: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for seconds, side in zip(found, sides, strict=True):
            seconds += medians(side, runs=runs, warmups=min(1, runs - 1), clock=clock)
    return found


def peak_memory(side: Callable[[], Any]) -> int:
    """The bytes of memory by which the process grows while ``side`` runs, at most; what is freed in between counts.

    Linux only: its resident memory, whose recorded peak is reset first.
    """
    with_glibc = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if with_glibc is not None:  # else memory that was freed before would be used again unseen
        with_glibc(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    side()
    return max(0, _memory("VmHWM") - before)


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def machine() -> str:
    """What the figures were measured on."""
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )
