"""A headless Chromium for the explorer's tests, and pages opened in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import synthetic
from driver import Explorer

from recursive_dla.output.explorer import render_page

# Chromium talks to its makers unless told not to; the tests look for requests of the page alone.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if executable is None or sync_playwright is None:
        lack = "no Chromium on the path" if executable is None else "playwright is not installed"
        message = f"THE EXPLORER IS NOT TESTED: {lack} (looked for {', '.join(NAMES)})"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def explore(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Explorer]]:
    """Opens documents in the explorer; at the end, none may have complained or left its own file."""
    contexts: list[Any] = []
    opened: list[Explorer] = []

    def open_page(document: dict[str, Any] | None = None, fragment: str = "", **options: Any) -> Explorer:
        document = document or synthetic.graph()
        file = tmp_path / f"page-{len(opened)}.html"
        file.write_text(render_page(document), encoding="utf-8")
        settings = {"viewport": {"width": 1440, "height": 900}, "accept_downloads": True} | options
        context = chromium.new_context(**settings)
        contexts.append(context)
        explorer = Explorer(context, document, file)
        opened.append(explorer)
        return explorer.open(fragment)

    yield open_page
    for explorer in opened:
        own = (explorer.file.as_uri(), "data:", "blob:")
        foreign = [url for url in explorer.requests if not url.startswith(own)]
        assert not explorer.complaints, explorer.complaints
        assert not foreign, f"the page asked for {foreign}"
    for context in contexts:
        context.close()
