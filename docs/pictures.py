"""Makes the pictures of the documents: ``make pictures``. Needs a Chromium."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from playwright.sync_api import sync_playwright

from recursive_dla import AttributionGraph, attribution_graph, load_model

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1280, "height": 720}


def graph_of_the_readme() -> AttributionGraph:
    model = load_model("demo")
    with torch.no_grad():
        _, cache = model.run_with_cache("When John and Mary went to the store, John gave a drink to")
    return attribution_graph(cache, model, " Mary", wrong_answers=" John").prune(max_edges=200)


def explorer(graph: AttributionGraph, selected: str) -> bytes:
    """The explorer's page of a graph, with one node selected, as PNG."""
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = graph.save(Path(folder) / "graph.html")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
        page.goto(page_file.as_uri())
        place = page.evaluate("(name) => explorer.whereIs(name)", selected)
        page.mouse.click(place["x"], place["y"])
        page.mouse.move(0, 0)  # or its tooltip would hide the graph
        page.wait_for_timeout(500)
        return page.screenshot()


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    picture = Image.open(io.BytesIO(explorer(graph_of_the_readme(), "L23H3@14"))).convert("RGB")
    picture.quantize(256).save(IMAGES / "explorer.png", optimize=True)
    print(f"Wrote {IMAGES / 'explorer.png'} ({(IMAGES / 'explorer.png').stat().st_size / 1e3:.0f} kB)")
