"""``recursive-dla view``: explore a saved graph in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recursive_dla.commands.printing import print_lines


def view(
    file: Annotated[
        Path,
        typer.Argument(
            help="A saved graph: FILE.html, FILE.json, or another format that can be read.", show_default=False
        ),
    ],
    port: Annotated[int, typer.Option(help="The port to listen on; 0 for any that is free.")] = 0,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the browser, or only print the address.")
    ] = True,
) -> None:
    """Explore a saved graph in the browser.

    Serves the one page on this machine only (127.0.0.1), until Ctrl-C.
    """
    from recursive_dla.output.page_server import view as serve

    serve(file, port=port, open_browser=open_browser, say=print_lines)
