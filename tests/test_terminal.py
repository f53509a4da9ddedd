"""What commands write to a terminal: nothing that tells it anything, in any encoding, and no traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from graphs import graph
from models import hugging_face, run, tokenizer
from typer.testing import CliRunner

from recursive_dla import AttributionGraph, attribution_tree, break_down, cli, compare

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
