"""Attribution graphs for the tests of files: tiny, and with text that could break out of anything."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from models import run

from recursive_dla import AttributionGraph, attribution_graph
from recursive_dla.attribution.provenance import Token

# Everything that could end a string, a tag, a script or a line, start a formula, or be lost on the way to a file.
HOSTILE = [
    '"]; x -> y //', "</script><img src=x onerror=alert(1)>", "]]>&#0;\\", "=1+1\r\n", "\0\x1b\u2028\ufffe",
    "🙂é\u0301 (p=0.5) '", "%%{init: {}}%%`#quot;",
]  # fmt: skip


@cache
def graph(name: str = "gpt2", dtype: torch.dtype = torch.float64, max_edges: int | None = 89) -> AttributionGraph:
    model, _, _, activations = run(name, dtype)
    found = attribution_graph(activations, model, 5, wrong_answers=17)
    return found if max_edges is None else found.prune(max_edges=max_edges)


def with_tokens(one: AttributionGraph, texts: list[str]) -> AttributionGraph:
    """``one`` with other texts for its tokens, and the first also as the answer."""
    meta = one.metadata
    tokens = tuple(replace(token, text=text) for token, text in zip(meta.tokens, texts, strict=True))
    assert all(isinstance(token, Token) for token in tokens)
    target = replace(meta.target, answer=texts[0], wrong_answer=texts[1], label=texts[0])
    nodes = one.nodes.assign(token=[tokens[pos].text for pos in one.nodes["pos"]])
    return replace(one, nodes=nodes, metadata=replace(meta, tokens=tokens, target=target, model=texts[1]))


@cache
def hostile() -> AttributionGraph:
    """Hostile texts, and numbers that are printed with an exponent."""
    one = with_tokens(graph(), HOSTILE)
    numbers = {name: one.nodes[name] * 1e-9 for name in ("attribution", "rest_in", "rest_out")}
    return replace(one, nodes=one.nodes.assign(**numbers), edge_weight=one.edge_weight * 1e-9)
