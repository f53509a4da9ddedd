"""Every notebook runs from top to bottom, and gives the outputs that it was saved with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import execute
import nbformat
import pytest
from shown import differences

pytestmark = pytest.mark.demo


@pytest.mark.thorough
@pytest.mark.parametrize("path", execute.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook(path: Path) -> None:
    saved = nbformat.read(path, as_version=4)
    fresh = execute.run(path)
    for place, (before, now) in enumerate(zip(saved.cells, fresh.cells, strict=True)):
        if before.cell_type != "code":
            continue
        assert before.execution_count, f"cell {place} was never run; make notebooks"
        found = differences(_text(before), _text(now))
        assert not found, f"cell {place} gives another output than was saved; make notebooks\n" + "\n".join(found)
        assert _pictures(before) == _pictures(now), f"cell {place} shows other figures than were saved; make notebooks"


@pytest.mark.parametrize("path", execute.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_was_run_in_order(path: Path) -> None:
    assert path.stat().st_size < 1_000_000
    counts = [cell.execution_count for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def _text(cell: Any) -> str:
    """What the cell printed, and the text of what it shows apart from figures."""
    # One print may arrive in several pieces, cut anywhere.
    printed = [output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout"]
    parts = [
        "".join(printed),
        *(
            output.data.get("text/plain", "")
            for output in cell.outputs
            if output.output_type != "stream" and not _is_figure(output)
        ),
    ]
    return "\n".join(parts)


def _pictures(cell: Any) -> int:
    return sum(output.output_type != "stream" and _is_figure(output) for output in cell.outputs)


def _is_figure(output: Any) -> bool:
    return any(kind in output.data for kind in ("image/png", execute.FIGURE))
