"""Diagrams as text: DOT for Graphviz, Mermaid for Markdown pages."""

from __future__ import annotations

import json
import re
from pathlib import Path

from recursive_dla.attribution.labels import token_label, visible_line
from recursive_dla.graphs.data import GraphData
from recursive_dla.graphs.pruning import prune
from recursive_dla.output.files.whole_files import write_text
from recursive_dla.output.style import THEMES, signed

# Mermaid refuses more than 500, and a page's width makes them unreadable long before.
MAX_MERMAID_EDGES = 40
_TOKEN_LENGTH = 24
_WIDEST = 4.0


def write_dot(graph: GraphData, path: Path) -> None:
    """All nodes and edges, layer above layer; blue raises the answer, red lowers it."""
    colors = THEMES["light"]
    ids = [_in_dot(node) for node in graph.nodes["id"]]
    lines = [
        "digraph attribution {",
        f"  graph [rankdir=BT, labelloc=t, label={_in_dot(_headline(graph))}];",
        "  node [shape=box, style=rounded, fontname=Helvetica, fontsize=10];",
        "  edge [arrowsize=0.5];",
    ]
    for node, label, kind, attribution in zip(
        ids, _labels(graph), graph.nodes["kind"], graph.nodes["attribution"].tolist(), strict=True
    ):
        color = colors.color_of(attribution)
        lines.append(
            f'  {node} [label={_in_dot(label)}, color="{color}", class={_in_dot(kind)}, attribution="{attribution!r}"];'
        )
    largest = _largest(graph)
    for source, target, weight in zip(
        graph.edge_source.tolist(), graph.edge_target.tolist(), graph.edge_weight.tolist(), strict=True
    ):
        color = colors.color_of(weight)
        width = max(_WIDEST * abs(weight) / largest, 0.1)
        lines.append(
            f'  {ids[source]} -> {ids[target]} [color="{color}", penwidth={width:.3f}, contribution="{weight!r}"];'
        )
    lines.append("}")
    write_text(path, "\n".join(lines) + "\n")


def _in_dot(text: str) -> str:
    """``text`` as a quoted string that Graphviz shows as it is: backslashes would start its own escapes."""
    return '"' + visible_line(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def write_mermaid(graph: GraphData, path: Path) -> None:
    """The strongest edges as a flowchart, upwards."""
    whole = len(graph.edge_weight)
    if whole > MAX_MERMAID_EDGES:
        graph = prune(graph, max_edges=MAX_MERMAID_EDGES)
    colors, kept = THEMES["light"], len(graph.edge_weight)
    # The title is YAML, of which JSON is a part; what follows is Mermaid's own.
    title = json.dumps(visible_line(_headline(graph) + _kept_of(kept, whole)), ensure_ascii=False)
    lines = ["---", f"title: {title}", "---", "flowchart BT"]
    lines += [f"  n{row}[{_in_mermaid(label)}]" for row, label in enumerate(_labels(graph))]
    largest, styles = _largest(graph), []
    for number, (source, target, weight) in enumerate(
        zip(graph.edge_source.tolist(), graph.edge_target.tolist(), graph.edge_weight.tolist(), strict=True)
    ):
        lines.append(f"  n{source} -->|{_in_mermaid(signed(weight, 2))}| n{target}")
        color = colors.color_of(weight)
        styles.append(
            f"  linkStyle {number} stroke:{color},stroke-width:{max(_WIDEST * abs(weight) / largest, 0.5):.1f}px"
        )
    write_text(path, "\n".join([*lines, *styles]) + "\n")


def _kept_of(kept: int, whole: int) -> str:
    return f"; {kept:,} of {whole:,} edges" if kept < whole else ""


def _in_mermaid(text: str) -> str:
    """``text`` as a quoted label: whatever could mean something to Mermaid or be markup becomes its character code."""
    return '"' + re.sub(r"[^\w .,:+·⏎⇥…−-]", lambda found: f"#{ord(found[0])};", visible_line(text)) + '"'


def _labels(graph: GraphData) -> list[str]:
    texts = [token.text for token in graph.metadata.tokens]
    return [
        f"{node.rsplit('@', 1)[0]} at {token_label(pos, texts[pos], _TOKEN_LENGTH)}"
        for node, pos in zip(graph.nodes["id"], graph.nodes["pos"], strict=True)
    ]


def _headline(graph: GraphData) -> str:
    meta = graph.metadata
    return f"{meta.model}: {meta.target.label} {signed(meta.value)}"


def _largest(graph: GraphData) -> float:
    return max((abs(weight) for weight in graph.edge_weight.tolist()), default=1.0) or 1.0
