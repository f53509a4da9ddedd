"""A graph's summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from recursive_dla.attribution.labels import token_label, visible
from recursive_dla.output.notebook.templates import LONGEST_TEXT, MOST_ROWS, render
from recursive_dla.output.style import subject, unit_of
from recursive_dla.output.summary_text import pruning_line

if TYPE_CHECKING:
    from recursive_dla.graphs.data import GraphData

_MOST_TOKENS = 200


class _ShownToken(NamedTuple):
    """A token, and how strong the ground is that it stands on: the more its leaves give, the stronger."""

    text: str
    label: str
    share: float
    opacity: str


def graph_html(graph: GraphData) -> str:
    """A graph's summary: what it explains, its tokens coloured by their embeddings' share, its strongest components.

    Example:
        >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
        >>> 2_000 < len(graph_html(graph)) < 20_000
        True
    """
    meta, unit = graph.metadata, unit_of(graph.metadata.target.answer)
    size = f"{len(graph.nodes):,} nodes, {len(graph.edge_weight):,} edges"
    tokens, left = _shown_tokens(graph)
    return render(
        "graph.html",
        subject=subject(meta.target),
        value=meta.value,
        unit=unit,
        facts=f"{meta.model}, rule {meta.rule}; {size}; completeness error {meta.completeness_error:.1e}",
        pruned=pruning_line(meta) if meta.pruning else None,
        tokens=tokens,
        left=left,
        strongest=_strongest(graph),
    )


def _strongest(graph: GraphData) -> list[tuple[str, str, float]]:
    """The components inside the graph that give most: names, tokens, attributions."""
    nodes, tokens = graph.nodes, graph.metadata.tokens
    inside = nodes[~graph.is_leaf & (nodes["kind"] != "logit")]
    order = inside["attribution"].abs().sort_values(ascending=False, kind="stable").index[:MOST_ROWS]
    rows = inside.loc[order]
    return [
        (node.split("@")[0], token_label(pos, tokens[pos].text, LONGEST_TEXT), attribution)
        for node, pos, attribution in zip(rows["id"], rows["pos"], rows["attribution"], strict=True)
    ]


def _shown_tokens(graph: GraphData) -> tuple[list[_ShownToken | None], int]:
    """The prompt's tokens, with ``None`` where some are left out, and how many those are."""
    meta = graph.metadata
    shares = [0.0] * len(meta.tokens)
    leaves = graph.nodes[graph.is_leaf]
    for node, pos, attribution in zip(leaves["id"], leaves["pos"], leaves["attribution"], strict=True):
        # Leaves read nothing, so those of a group give what it does, each at its own token.
        for at, part in [(one.pos, one.attribution) for one in meta.groups.get(node, ())] or [(pos, attribution)]:
            shares[at] += float(part)
    largest = max(map(abs, shares), default=0.0) or 1.0

    def shown(pos: int) -> _ShownToken:
        text, share = meta.tokens[pos].text, shares[pos]
        label, opacity = token_label(pos, text, LONGEST_TEXT), f"{abs(share) / largest * 0.6:.2f}"
        return _ShownToken(visible(text, LONGEST_TEXT), label, share, opacity)

    left = max(0, len(shares) - _MOST_TOKENS)
    if not left:
        return list(map(shown, range(len(shares)))), left
    # Of a long prompt the middle is left out: what matters most is often where it ends.
    start = _MOST_TOKENS // 2
    return [*map(shown, range(start)), None, *map(shown, range(start + left, len(shares)))], left
