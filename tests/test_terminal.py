"""What commands write to a terminal: nothing that tells it anything, in any encoding, and no traceback."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tomllib
from graphs import graph, with_tokens
from models import hugging_face, run, tokenizer
from typer.testing import CliRunner

from recursive_dla import AttributionGraph, attribution_tree, break_down, cli, compare
from recursive_dla.output.file_facts import file_info

# typer calls commands with more than their annotations allow.
pytestmark = pytest.mark.usefixtures("types_unchecked")

# A title, a cleared screen, two C1 control characters, a text shown backwards, a space that is not seen, rich's markup.
ATTACKS = ["\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "\x85\x7f", "\u202exela", "\u200b\u2066", "[bold]x[/bold] :smile:"]
MARKUP = "[bold]x[/bold] :smile:"
# What a name may not hold in a file is refused there; the rest gets through.
NAMES = [text for text in ATTACKS if not any(c < "\x20" or "\x7f" <= c < "\xa0" for c in text)]


def attacked() -> AttributionGraph:
    """A graph with attacks wherever a file may hold text."""
    one = graph()
    meta = one.metadata
    tokens = tuple(replace(token, text=text) for token, text in zip(meta.tokens, ATTACKS, strict=True))
    everything = "\n".join(ATTACKS)
    target = replace(meta.target, answer=everything, wrong_answer=everything, label=everything)
    meta = replace(meta, tokens=tokens, target=target, model=everything, rule=everything, generator=everything)
    name = "".join(NAMES)
    nodes = one.nodes.assign(token=[tokens[pos].text for pos in one.nodes["pos"]])
    heads = nodes["id"][(nodes["kind"] == "head") & (nodes["layer"] == 0)].tolist()
    grouped = replace(one, nodes=nodes, metadata=meta).group({name: heads})
    assert name in " ".join(grouped.nodes["id"])
    return grouped


def is_harmless(text: str) -> bool:
    return text.replace("\n", "").isprintable()


def command(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "4000"})
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.mark.parametrize("name", ["info", "diff"])
def test_text_from_a_file_tells_the_terminal_nothing(name: str, tmp_path: Path) -> None:
    path = attacked().save(tmp_path / "bad.json")
    arguments = [name, path] + [path] * (name == "diff")
    said = command(*arguments)
    assert is_harmless(said)
    assert MARKUP in said
    assert "\\x1b]0;title\\x07" in said
    document = command(*arguments, "--json")
    assert is_harmless(document)
    meta = json.loads(document)["metadata" if name == "info" else "a"]
    assert meta["model"] == "\n".join(ATTACKS)


def test_names_of_groups_tell_the_terminal_nothing(tmp_path: Path) -> None:
    path = attacked().save(tmp_path / "bad.json")
    said = command("diff", path, graph().save(tmp_path / "good.json"))
    assert is_harmless(said)
    assert "\\u202exela\\u200b\\u2066[bold]x[/bold] :smile:" in said


def test_paths_tell_the_terminal_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "[bold]x[:smile:\x1b[2J\u202e"
    folder.mkdir()
    said = command("convert", graph().save(tmp_path / "good.json"), folder / "a.json", folder / "a.csv")
    assert said.count("\n") == 4
    assert is_harmless(said)
    assert "[bold]x[:smile:\\x1b[2J\\u202e" in said


def test_errors_tell_the_terminal_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(graph().save(tmp_path / "good.json").read_text())
    document["metadata"]["n_layers"] += 1
    document["metadata"]["model"] = "".join(ATTACKS)
    for number in range(2):
        (tmp_path / f"{number}.json").write_text(json.dumps(document))
        document["metadata"]["n_heads"] += 1
    monkeypatch.setattr(sys, "argv", ["recursive-dla", "diff", str(tmp_path / "0.json"), str(tmp_path / "1.json")])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    said = capsys.readouterr().err
    assert "\\x1b[2J" in said
    assert is_harmless(said)


@pytest.mark.parametrize(
    "arguments", [("diff", "a", "b", *ATTACKS), ("".join(ATTACKS),), ("info", "--" + "".join(ATTACKS), "a")]
)
def test_complaints_about_arguments_tell_the_terminal_nothing(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "4000"})
    assert result.exit_code == 2
    assert is_harmless(result.stderr)
    assert "\\u202exela" in result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokens and whose name are attacks."""
    path = tmp_path_factory.mktemp("models") / "[bold]x\x1b[2J\u202e"
    model = hugging_face("gpt2")
    model.save_pretrained(path)
    words = [text.replace(" ", "") for text in ATTACKS]
    words += [f"{text}{number}" for number, text in enumerate(words * 8)]
    tokenizer(words[: model.config.vocab_size - 1]).save_pretrained(path)
    return path


@pytest.mark.parametrize(
    "arguments", [("trace",), ("tree",), ("tree", "--paths", "3"), ("trace", "--json"), ("tree", "--json")]
)
def test_tokens_tell_the_terminal_nothing(arguments: tuple[str, ...], folder: Path) -> None:
    name, *options = arguments
    answer, wrong = ATTACKS[0], ATTACKS[4]
    prompt = " ".join(text.replace(" ", "") for text in ATTACKS if text.split() == [text])
    said = command(name, prompt, "--answer", answer, "--wrong", wrong, "--model", folder, *options)
    assert is_harmless(said)
    assert "\\u202exela" in said
    if "--json" in options:
        assert json.loads(said)["metadata"]["model"]


@pytest.mark.parametrize(
    "made",
    [
        attacked,
        lambda: compare(attacked(), attacked()),
        lambda: compare(attacked(), graph()),
        lambda: _tree(),
        lambda: _tree().paths(3),
        lambda: _breakdown(),
    ],
    ids=["graph", "difference", "groups", "tree", "paths", "breakdown"],
)
def test_what_print_gives_tells_the_terminal_nothing(made: Callable[[], object]) -> None:
    one = made()
    assert is_harmless(str(one))
    assert is_harmless(repr(one))


def _tree() -> object:
    model, _, _, activations = run("gpt2")
    tree = attribution_tree(activations, model, 5)
    everything = "\n".join(ATTACKS)
    tree.metadata = replace(tree.metadata, model=everything, target=replace(tree.metadata.target, label=everything))
    return tree


def _breakdown() -> object:
    model, _, _, activations = run("gpt2")
    one = break_down(activations, model, 5)
    return replace(one, axes={**one.axes, "token": ["\n".join(ATTACKS)]})


# --- streams ---------------------------------------------------------------------------------------------------------


def printed(monkeypatch: pytest.MonkeyPatch, encoding: str, *arguments: object, status: int = 0) -> str:
    """What the command line writes to a stdout and a stderr of that encoding."""
    written = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding=encoding, write_through=True))
    monkeypatch.setattr(sys, "argv", ["recursive-dla", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert (left.value.code or 0) == status
    return written.getvalue().decode(encoding)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of tokens that no encoding but Unicode's has all of."""
    one = with_tokens(graph(), ["שלום", "日本", "é", "ſ", "−", "🙂", "Ω"])
    return one.save(tmp_path_factory.mktemp("graphs") / "foreign.json")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp932", "utf-16", "utf-8"])
def test_any_encoding_is_written(encoding: str, foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    difference = printed(monkeypatch, encoding, "diff", foreign, foreign)
    assert ("🙂" if encoding.startswith("utf") else "\\U0001f642") in difference
    assert "\ufffd" not in difference
    assert "Usage" in printed(monkeypatch, encoding, "trace", "--help")
    info = printed(monkeypatch, encoding, "info", foreign)
    assert ("日本" if encoding in ("cp932", "utf-16", "utf-8") else "\\u65e5\\u672c") in info
    assert "Error" in printed(monkeypatch, encoding, "info", foreign.with_name("日本−.json"), status=2)


def test_signs_of_ours_have_plain_ones_in_their_place(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = printed(monkeypatch, "ascii", "diff", foreign, foreign)
    assert "B - A" in said
    assert " -> logit at 6" in said


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16", "utf-8"])
def test_json_is_json_in_any_encoding(encoding: str, foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(monkeypatch, encoding, "info", foreign, "--json")
    assert json.loads(text) == file_info(foreign)
    assert text.isascii() == (encoding != "utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("arguments", [("info", "{}"), ("info", "{}", "--json"), ("diff", "{}", "{}"), ("--help",)])
@pytest.mark.parametrize("buffered", [True, False])
def test_a_full_disk_is_one_line_and_status_2(
    arguments: tuple[str, ...],
    buffered: bool,
    foreign: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["recursive-dla", *(text.format(foreign) for text in arguments)])
    with Path("/dev/full").open("w", buffering=-1 if buffered else 1, encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit, match="2"):
            cli.main()
        # As Python does at its end.
        full.flush()
    said = capsys.readouterr().err
    assert said == "Error: What was to be printed cannot be written: No space left on device.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_what_cannot_be_said_keeps_its_status(foreign: Path) -> None:
    for errors in ("2>/dev/full", "2>&-"):
        command = f"{shlex.quote(sys.executable)} -m recursive_dla info nothing.json {errors}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, ""), errors
    command = f"{shlex.quote(sys.executable)} -m recursive_dla info {shlex.quote(str(foreign))} --json | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_other_errors_of_the_system_are_not_taken_for_one_of_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise FileNotFoundError(2, "No such file", "weights")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(FileNotFoundError):
        cli.main()


@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl-C as a POSIX signal")
@pytest.mark.parametrize("module", ["typer", "torch", "recursive_dla.output.saving", "transformers"])
def test_ctrl_c_while_modules_are_imported_is_quiet(module: str) -> None:
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder)
sys.argv = ["recursive-dla", "trace", "a", "--answer", "b", "--model", "nowhere"]
from recursive_dla.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl-C as a POSIX signal")
def test_ctrl_c_that_is_ignored_stays_ignored(foreign: Path) -> None:
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.argv = ["recursive-dla", "info", {str(foreign)!r}, "--json"]
from recursive_dla.__main__ import main
try:
    main()
finally:
    signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_starts_where_ctrl_c_is_seen_to() -> None:
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"recursive-dla": "recursive_dla.__main__:main"}
