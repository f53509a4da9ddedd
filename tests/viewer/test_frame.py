"""The page within another one, as notebooks show it."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import tiny

from recursive_dla.output.explorer import render_page


def test_the_page_works_where_it_has_no_address(chromium: Any, tmp_path: Path):
    file = tmp_path / "notebook.html"
    page_text = html.escape(render_page(tiny.graph()))
    file.write_text(f'<iframe width="1300" height="800" srcdoc="{page_text}"></iframe>', encoding="utf-8")
    page = chromium.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(file.as_uri())
    frame = page.frames[1]
    frame.locator("#panel .row").first.click()
    assert "L1H0" in frame.locator("#panel h2").inner_text()
    # Longer than the address, if there were one, would take to follow.
    page.wait_for_timeout(500)
    frame.locator("#undo").click()
    assert frame.locator("#panel h2").inner_text() == "Strongest nodes"
    page.wait_for_timeout(500)
    page.close()
    assert not complaints, complaints
