"""Saving and loading a large graph in each format, against plain JSON of the same document.

Prints a table: seconds to write and to read 100,000 edges, how many times as long that is as ``json.dumps`` and
``json.loads`` of the document take, and the size on disk. Pictures are left out: they draw the strongest edges only.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from measure import machine, medians

from recursive_dla import AttributionGraph, attribution_graph, load_model
from recursive_dla.output.files.graph_document import graph_document
from recursive_dla.output.saving import FORMATS

PROMPT = "When John and Mary went to the store, John gave a drink to"
# What is left of so many still leads to the logit: a little more than 100,000.
STRONGEST = 110_000
LEFT_OUT = (".svg", ".png")


def main() -> None:
    graph = large_graph()
    document = graph_document(graph)
    text = json.dumps(document)
    plain = medians(lambda: json.dumps(document), lambda: json.loads(text), runs=3, warmups=1)
    print(f"{machine()}; {len(graph.nodes):,} nodes, {len(graph.edge_weight):,} edges")
    print(f"json.dumps {plain[0]:.2f} s, json.loads {plain[1]:.2f} s, {len(text) / 1e6:.1f} MB\n")
    print("| format | write | × dumps | read | × loads | MB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for file_format in FORMATS:
            ending = file_format.endings[0]
            if ending in LEFT_OUT:
                continue
            path = Path(folder) / f"graph{ending}"
            (write,) = medians(lambda path=path: graph.save(path), runs=3, warmups=1)
            size = sum(file.stat().st_size for file in file_format.files(path)) / 1e6
            cells = [f"{ending}", f"{write:.2f} s", f"{write / plain[0]:.1f}", "", "", f"{size:.1f}"]
            if file_format.read is not None:
                (read,) = medians(lambda path=path: AttributionGraph.load(path), runs=3, warmups=1)
                cells[3:5] = [f"{read:.2f} s", f"{read / plain[1]:.1f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


def large_graph() -> AttributionGraph:
    model = load_model("demo")
    with torch.no_grad():
        _, cache = model.run_with_cache(model.to_tokens(PROMPT))
    return attribution_graph(cache, model, " Mary", wrong_answers=" John").prune(max_edges=STRONGEST)


if __name__ == "__main__":
    main()
