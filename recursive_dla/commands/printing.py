"""What commands print: stdout is for the answer alone."""

from __future__ import annotations

import codecs
import contextlib
import json
import sys
from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]

# What stands for our own signs where an encoding lacks them; all else is escaped.
_PLAIN_SIGNS = {"−": "-", "–": "-", "→": "->", "…": "...", "×": "x", "Σ": "sum of", "├": "|", "└": "`", "│": "|"}
# The name of that way to handle errors of encoding.
PLAIN = "recursive_dla.plain"


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    plain = (_PLAIN_SIGNS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in characters)
    return "".join(plain), error.end


codecs.register_error(PLAIN, _in_plain_signs)


def stdout_for_the_answer() -> contextlib.AbstractContextManager[Any]:
    """Within the block, what libraries print as they load and run goes to stderr."""
    return contextlib.redirect_stdout(sys.stderr)


def print_json(document: dict[str, Any]) -> None:
    """Print a document that ``--json`` asks for, so that terminals and encodings leave it whole."""
    in_ascii = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    text = json.dumps(document, ensure_ascii=in_ascii, indent=2)
    typer.echo("\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n")))


def _escaped(line: str) -> str:
    # JSON asks to escape control characters below U+0020 alone. Others can stand within its strings only.
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def print_lines(text: str) -> None:
    """Print lines, made visible: nothing in them is taken as markup, and they are not broken to fit the terminal."""
    from rich.console import Console

    from recursive_dla.attribution.labels import visible_line

    text = "\n".join(map(visible_line, text.split("\n")))
    Console().print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
