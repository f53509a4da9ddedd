"""The command line: ``recursive-dla`` and ``python -m recursive_dla``. Each command is a module of ``commands/``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from recursive_dla.attribution.labels import visible_line
from recursive_dla.commands.convert import convert
from recursive_dla.commands.diff import diff
from recursive_dla.commands.info import info
from recursive_dla.commands.trace import trace
from recursive_dla.commands.tree import tree
from recursive_dla.commands.view import view
from recursive_dla.errors import InputError
from recursive_dla.version import __version__

BAD_INPUT = 2

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Where a language model's answer comes from: every head and MLP, back to the tokens, and it all adds up.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"recursive-dla {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


app.command(
    epilog='Example: recursive-dla trace "The Eiffel Tower is located in the city of" --answer " Paris" --out a.html'
)(trace)
app.command(
    epilog='Example: recursive-dla tree "The Eiffel Tower is located in the city of" --answer " Paris" --paths 10'
)(tree)
app.command(epilog="Example: recursive-dla view mary.json")(view)
app.command(epilog="Example: recursive-dla diff mary.json john.json")(diff)
app.command(epilog="Example: recursive-dla convert mary.json mary.graphml mary.svg")(convert)
app.command(epilog="Example: recursive-dla info mary.json")(info)


def main() -> None:
    """Run the command line; bad input ends in one line on stderr and exit status 2."""
    try:
        app()
    except InputError as error:
        message = " ".join(str(error).split())
        typer.echo(f"Error: {visible_line(message)}", err=True)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(130)
