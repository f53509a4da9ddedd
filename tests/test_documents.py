"""README and docs: every command and code block works, and prints what is shown.

A document's blocks run in order and share their names, in an empty folder. Those of ``docs/`` have ``model``, ``cache``
and all public names at hand, as docstrings do; README's have to import what they use.

* ``python``: is run.
* ``text`` after a ``python`` block: is among what that block printed.
* ``console``: each line that starts with ``$``. Commands of this package are run, and print what follows them, if
  anything does; of ``make``, ``pip`` and ``python FILE`` it is checked that what they name is there.
* ``json``: can be read.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import tomllib
from models import demo_run
from packaging.requirements import Requirement
from shown import differences
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser
from typer.testing import CliRunner

import recursive_dla
from recursive_dla.cli import app

# Documents are for users, whose Python checks no shapes and types.
pytestmark = [pytest.mark.demo, pytest.mark.usefixtures("types_unchecked")]

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md"))]
# A span of code that is a command, in running text.
COMMAND = re.compile(r"`((?:make|pip install|python [\w/]+\.py|recursive-dla)(?: [^`]+)?)`")
WITHOUT_MODEL = {"--help", "--version"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for example in examples(path):
        example.evaluate()
    for command in COMMAND.findall(path.read_text(encoding="utf-8")):
        check_command(command)


def test_the_api_reference_has_every_public_name() -> None:
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"auto(?:function|class|exception):: (?:[\w.]+\.)?(\w+)", reference))
    assert set(recursive_dla.__all__) <= listed


def examples(path: Path) -> Iterable[Example]:
    languages = {"python": run_python, "text": compare_text, "console": run_console, "json": read_json}
    parsers = [CodeBlockParser(language, evaluate) for language, evaluate in languages.items()]
    document: Document = Sybil(parsers=parsers, path=str(path.parent), patterns=[path.name]).parse(path)
    found = list(document.examples())
    document.namespace["printed"] = None
    if path.parent != ROOT and "```python" in document.text:
        document.namespace.update(names_at_hand())
    return found


def names_at_hand() -> dict[str, Any]:
    demo = demo_run()
    names = {name: getattr(recursive_dla, name) for name in recursive_dla.__all__}
    return {**names, "model": demo.model, "cache": recursive_dla.ActivationCache(demo.cache.cache_dict, demo.model)}


def run_python(example: Example) -> None:
    code = compile("\n" * example.line + example.parsed, example.path, "exec")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, example.namespace)
    example.namespace["printed"] = output.getvalue()


def compare_text(example: Example) -> None:
    """A block before anything ran is a figure or a formula, and is not compared."""
    if example.namespace["printed"] is not None:
        assert_shown(example.parsed, example.namespace["printed"], f"{example.path}:{example.line}")


def assert_shown(shown: str, printed: str, where: str) -> None:
    """What is shown is all that was printed, or some lines of it on end."""
    shown_lines, lines = shown.strip("\n").splitlines(), printed.strip("\n").splitlines()
    starts = range(max(1, len(lines) - len(shown_lines) + 1))
    pieces = ["\n".join(lines[start : start + len(shown_lines)]) for start in starts]
    closest = min((differences(shown, piece) for piece in pieces), key=len)
    assert not closest, f"{where} shows something else than is printed:\n" + "\n".join(closest)


def run_console(example: Example) -> None:
    for part in re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        while line.endswith("\\"):
            more, _, shown = shown.partition("\n")
            line = line[:-1] + more
        check_command(line, shown, where=f"{example.path}:{example.line}")


def read_json(example: Example) -> None:
    json.loads(example.parsed)


def check_command(line: str, shown: str = "", where: str = "") -> None:
    program, *arguments = shlex.split(line, comments=True)
    if program == "recursive-dla":
        if not arguments or "…" in line or (not where and not WITHOUT_MODEL & set(arguments)):
            return  # the name alone, or a form of commands rather than one
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{where}: {line}\n{result.output}"
        if shown.strip():
            assert_shown(shown, result.stdout, where)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert {argument for argument in arguments if "=" not in argument} <= set(targets), line
    elif program == "pip":
        packages = [argument for argument in arguments[1:] if not argument.startswith("-") and argument != "."]
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for requirement in map(Requirement, packages):
            assert requirement.name == project["name"], line
            assert requirement.extras <= set(project["optional-dependencies"]), line
    elif program == "python":
        assert (ROOT / arguments[0]).is_file(), line
    elif program in ("cd", "git", "source"):
        pass
    else:
        pytest.fail(f"{where}: nothing is known about how to check {line!r}")
