"""The command line: ``recursive-dla`` and ``python -m recursive_dla``. Each command is a module of ``commands/``."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from recursive_dla.attribution.labels import visible_line
from recursive_dla.commands.convert import convert
from recursive_dla.commands.diff import diff
from recursive_dla.commands.info import info
from recursive_dla.commands.printing import PLAIN
from recursive_dla.commands.trace import trace
from recursive_dla.commands.tree import tree
from recursive_dla.commands.view import view
from recursive_dla.errors import InputError
from recursive_dla.version import __version__

BAD_INPUT = 2
# What a stream that is open can answer to what is written to it.
_ERRORS_OF_STREAMS = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPIPE}


class _Commands(TyperGroup):
    """Commands whose complaints about arguments, which a shell may have made of names of files, are made visible."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Whatever typer says of arguments has a message; where its class is depends on typer's version.
            if isinstance(message := getattr(error, "message", None), str):
                error.message = "\n".join(map(visible_line, message.split("\n")))  # type: ignore[attr-defined]
            raise


app = typer.Typer(
    cls=_Commands,
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
    """Run the command line; bad input, or output that has no place to go, ends in one line on stderr and status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)
    try:
        try:
            app()
        finally:
            # Python's own last flush would fail with a traceback.
            if sys.stdout is not None:
                sys.stdout.flush()
    except InputError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.filename is not None or error.errno not in _ERRORS_OF_STREAMS:
            raise
        _silence(sys.stdout)
        if error.errno == errno.EPIPE:
            # Who read it has seen enough.
            sys.exit(1)
        _fail(f"What was to be printed cannot be written: {error.strerror}.")


def _fail(message: str) -> NoReturn:
    if sys.stderr is not None:
        try:
            print("Error:", visible_line(" ".join(message.split())), file=sys.stderr, flush=True)
        except OSError:
            _silence(sys.stderr)
    sys.exit(BAD_INPUT)


def _silence(stream: TextIO) -> None:
    """Lets what a stream still holds go nowhere, and all that is written to it from now on."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
