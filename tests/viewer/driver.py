"""One page of the explorer, opened in a browser and driven as a reader would."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


class Explorer:
    """One opened page, with what it logged and what it asked the network for."""

    def __init__(self, context: Any, document: dict[str, Any], file: Path):
        self.document = document
        self.file = file
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = context.new_page()
        self.page.on("console", self._log)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _log(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, fragment: str = "") -> Explorer:
        self.page.goto(self.file.as_uri() + fragment)
        return self.settle()

    def settle(self) -> Explorer:
        """Waits until what was asked for is painted."""
        self.run("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self

    def run(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def wait(self, condition: str, seconds: float = 20) -> None:
        """Waits for a condition; the page's policy forbids playwright's own way of doing so."""
        end = time.monotonic() + seconds
        while not self.run(f"() => {condition}"):
            assert time.monotonic() < end, f"still not so after {seconds} s: {condition}"
            self.page.wait_for_timeout(20)

    @property
    def state(self) -> dict[str, Any]:
        return self.run("() => explorer.session.history.state")

    @property
    def selected(self) -> str | None:
        return (self.state["selected"] or {}).get("node")

    def fragment(self) -> str:
        """The fragment of the address, once it is up to date."""
        return self.run("() => { explorer.address.write(); return location.hash; }")

    def place(self, name: str) -> tuple[float, float]:
        """Where a node (by id) or a group (by name) is drawn."""
        place = self.run("(name) => explorer.whereIs(name)", name)
        return place["x"], place["y"]

    def click(self, name: str, shift: bool = False) -> None:
        if shift:
            self.page.keyboard.down("Shift")
        self.page.mouse.click(*self.place(name))
        if shift:
            self.page.keyboard.up("Shift")
        self.settle()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def shown(self) -> dict[str, list[Any]]:
        """The ids of the drawn nodes (or names of groups) and the edges between them."""
        return self.run("""() => {
          const { shown } = explorer.session.view();
          const name = (item) => item.id ?? item.name;
          return {
            items: shown.items.map(name),
            edges: shown.edges.map((edge) => [name(edge.source), name(edge.target), edge.weight]),
          };
        }""")
