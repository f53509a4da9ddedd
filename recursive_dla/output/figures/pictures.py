"""The figure as a picture. Chromium draws it, through kaleido."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from recursive_dla.errors import InputError
from recursive_dla.graphs.data import GraphData
from recursive_dla.output.figures.network import graph_figure
from recursive_dla.output.files.whole_files import write_bytes

# plotly gives a picture and its traces random names, so that several fit in one page; here the same graph gives the
# same bytes.
_OWN_NAME = re.compile(r'id="defs-([0-9a-f]{6})"')
_SCALE = 2


def write_svg(graph: GraphData, path: Path) -> None:
    text = _draw(graph, "svg").decode()
    found = _OWN_NAME.search(text)
    if found is not None:
        text = text.replace(found[1], "000000")
    write_bytes(path, text.encode())


def write_png(graph: GraphData, path: Path) -> None:
    write_bytes(path, _draw(graph, "png"))


def _draw(graph: GraphData, kind: Literal["svg", "png"]) -> bytes:
    figure = graph_figure(graph)
    for number, trace in enumerate(figure.data):
        trace.uid = f"{number:06}"
    try:
        return figure.to_image(format=kind, scale=_SCALE if kind == "png" else 1)
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"The picture could not be drawn: {reason}. It takes a Chromium or Chrome on this machine; its path may be"
            " given in the environment variable BROWSER_PATH."
        ) from error
