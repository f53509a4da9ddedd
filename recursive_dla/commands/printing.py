"""What commands print: stdout is for the answer alone."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]


def stdout_for_the_answer() -> contextlib.AbstractContextManager[Any]:
    """Within the block, what libraries print as they load and run goes to stderr."""
    return contextlib.redirect_stdout(sys.stderr)


def print_json(document: dict[str, Any]) -> None:
    """Print a document that ``--json`` asks for."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def print_lines(text: str) -> None:
    """Print text as it is: nothing in it is taken as markup, and lines are not broken to fit the terminal."""
    from rich.console import Console

    Console().print(text, highlight=False, markup=False, soft_wrap=True)
