"""Runs notebooks from top to bottom. As a script, saves them with fresh outputs: ``python notebooks/execute.py``.

Figures are saved as pictures, which every viewer of notebooks shows and which stay small; in a live session the same
cells show them as plotly does. Nothing that differs from run to run is saved.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FIGURE = "application/vnd.plotly.v1+json"


def run(path: Path) -> Any:
    """The notebook with the outputs of a run, in this interpreter, without a hub.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    # Of all kernels that may be installed, only the one of this interpreter.
    kernels = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]),
        "PLOTLY_RENDERER": "plotly_mimetype",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TQDM_DISABLE": "1",
    }
    with TemporaryDirectory() as folder:
        client = NotebookClient(notebook, km=kernels, timeout=300, resources={"metadata": {"path": folder}})
        client.execute(env=environment)
    return notebook


def save(notebook: Any, path: Path) -> None:
    """Write a notebook that was run, without what differs from run to run."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place:02}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_lasting, cell.outputs) if output is not None]
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def _lasting(output: Any) -> Any:
    """An output as it is saved; ``None`` for what libraries say on stderr."""
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    output.metadata = {}
    if FIGURE in output.data:
        output.data = {"image/png": _picture(output.data[FIGURE])}
    return output


def _picture(figure: dict[str, Any]) -> str:
    """A plotly figure as PNG, in base64; needs kaleido and a Chromium."""
    import plotly.io
    from PIL import Image

    drawn = plotly.io.to_image(plotly.io.from_json(json.dumps(figure)), "png", scale=1.5)
    # A palette makes the file a third as large; figures have few colours.
    packed = io.BytesIO()
    Image.open(io.BytesIO(drawn)).convert("RGB").quantize(256).save(packed, "PNG", optimize=True)
    return base64.b64encode(packed.getvalue()).decode()


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or NOTEBOOKS:
        save(run(path), path)
        print(f"Wrote {path} ({path.stat().st_size / 1e3:.0f} kB)")
