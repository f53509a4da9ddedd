"""``recursive-dla tree`` as it is typed, on a tiny model in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from models import hugging_face, tokenizer
from typer.testing import CliRunner

from recursive_dla import AttributionTree
from recursive_dla.cli import app
from recursive_dla.errors import InputError

# Typer passes what it has not parsed yet through functions whose types are checked here.
pytestmark = pytest.mark.usefixtures("types_unchecked")

# Behind the <bos> that is put before it, at positions 1 to 5.
PROMPT = "w3 w5 w7 w11 w3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "gpt2"
    hugging_face("gpt2").save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def tree(folder: Path, *arguments: Any) -> str:
    command = ["tree", PROMPT, "--answer", "w5", "--model", folder, "--dtype", "float64", *arguments]
    done = CliRunner().invoke(app, list(map(str, command)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_prints_the_tree(folder: Path) -> None:
    text = tree(folder, "--wrong", "w7", "--depth", 2, "--top-k", 2)
    assert text.startswith("AttributionTree of 'w5' − 'w7' at 5: ")
    assert "logit@5 w3" in text
    assert "└ rest: " in text
    short = tree(folder, "--wrong", "w7", "--depth", 2, "--top-k", 2, "--rows", 1)
    assert len(short.splitlines()) == 3


def test_it_starts_at_a_component(folder: Path) -> None:
    assert tree(folder, "--start", "L1H1@-1").startswith("AttributionTree of L1H1@5 in 'w5' at 5: ")
    assert "N" in tree(folder, "--start", "L2MLP@5", "--unit", "neurons").splitlines()[3]


def test_it_lists_paths(folder: Path) -> None:
    text = tree(folder, "--paths", 3)
    assert text.startswith("The 3 strongest paths of 'w5' at 5: ")
    assert text.count("@") > 3
    document = json.loads(tree(folder, "--paths", 3, "--json"))
    assert len(document["paths"]) == 3
    assert document["explained"] + document["weaker"] + document["unexplored"] == pytest.approx(document["total"])
    assert document["metadata"]["prompt"]


def test_files_and_json_hold_the_tree(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    document = json.loads(tree(folder, "--max-nodes", 9, "--out", path, "--json"))
    assert document.pop("files") == [str(path)]
    assert json.loads(path.read_text()) == document
    assert AttributionTree.load(path).nodes["expanded"].sum() == 9
    assert f"Wrote {path}" in tree(folder, "--max-nodes", 9, "--out", path)


def test_bad_input_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Trees are saved as \.json"):
        tree(tmp_path / "none", "--out", tmp_path / "tree.html")
    with pytest.raises(InputError, match="must be a component and a position"):
        tree(tmp_path / "none", "--start", "L1H1")
