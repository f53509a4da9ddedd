"""A cache to a file and back: seconds, and peak memory over the cache's size. Each in a process of its own."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from measure import machine, peak_memory

from recursive_dla import ActivationCache, load_model, run_with_lean_cache

PROMPT = "When John and Mary went to the store, John gave a drink to"


def save(path: Path, n_tokens: int, lean: bool) -> None:
    model = load_model("demo")
    tokens = model.to_tokens(PROMPT * (n_tokens // 10))[:, :n_tokens]
    if lean:
        cache = run_with_lean_cache(model, tokens)[1]
    else:
        with torch.no_grad():
            cache = ActivationCache(model.run_with_cache(tokens)[1].cache_dict, model)
    size = sum(cache.memory().values())
    print(f"\n{tokens.shape[1]} tokens, {'what attribution needs' if lean else 'everything'}, {size / 2**20:.0f} MiB")
    # The cache itself is there already.
    report("save", partial(cache.save, path), size, already=size)


def load(path: Path) -> None:
    model = load_model("demo")
    report("load", partial(ActivationCache.load, path, model), path.stat().st_size)


def report(name: str, call: Callable[[], Any], size: int, already: int = 0) -> None:
    start = time.perf_counter()
    grown = peak_memory(call)
    seconds = time.perf_counter() - start
    print(f"  {name}: {seconds:6.1f} s, peak memory {(already + grown) / size:.3f} of the size", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tokens", type=int, default=1000)
    arguments.add_argument("step", nargs="?", choices=["save", "load"], help=argparse.SUPPRESS)
    arguments.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--lean", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    logging.disable(logging.WARNING)
    if given.step == "save":
        save(given.path, given.tokens, given.lean)
    elif given.step == "load":
        load(given.path)
    else:
        print(machine(), flush=True)
        for kept in ([], ["--lean"]):
            with TemporaryDirectory() as folder:
                shared = ["--path", str(Path(folder, "cache.safetensors")), "--tokens", str(given.tokens), *kept]
                for step in ("save", "load"):
                    subprocess.run([sys.executable, __file__, step, *shared], check=True)


if __name__ == "__main__":
    main()
