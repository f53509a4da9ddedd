"""What notebooks show of a graph, a breakdown, a tree and its paths: a few kilobytes of plain HTML, without scripts.

Colours are translucent and text inherits its own, so that it reads on light and dark pages alike.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from recursive_dla.attribution.labels import token_label, visible, visible_line
from recursive_dla.output.text import pruning_line

if TYPE_CHECKING:
    from recursive_dla.attribution.breakdown_data import BreakdownData
    from recursive_dla.graphs.comparison import DifferenceData
    from recursive_dla.graphs.data import GraphData
    from recursive_dla.trees.data import TreeData
    from recursive_dla.trees.paths import PathsData

# Long prompts and large batches are cut, or a notebook's file would grow with each look at them.
_MOST_TOKENS, _MOST_TABLES, _ROWS = 200, 4, 8
_MOST_NODES = 120
_LONGEST_TEXT = 24

_RAISES, _LOWERS = "52,131,214", "222,78,72"
_CELL = "padding:1px 12px 1px 0;text-align:left;vertical-align:top"
_BRANCH = "margin-left:14px;line-height:1.5"
_NUMBER = (
    "padding:1px 12px 1px 0;text-align:right;vertical-align:top;font-variant-numeric:tabular-nums;white-space:nowrap"
)


def graph_html(graph: GraphData) -> str:
    """A graph's summary: what it explains, its tokens coloured by their embeddings' share, its strongest components.

    Example:
        >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
        >>> 2_000 < len(graph_html(graph)) < 20_000
        True
    """
    meta, nodes = graph.metadata, graph.nodes
    unit = "" if meta.target.answer is None else " logits"
    size = f"{len(nodes):,} nodes, {len(graph.edge_weight):,} edges"
    facts = f"{meta.model}, rule {meta.rule}; {size}; completeness error {meta.completeness_error:.1e}"
    inside = nodes[~graph.is_leaf & (nodes["kind"] != "logit")]
    strongest = inside.loc[inside["attribution"].abs().sort_values(ascending=False, kind="stable").index[:_ROWS]]
    rows = [
        (component, token_label(pos, meta.tokens[pos].text, _LONGEST_TEXT), attribution)
        for component, pos, attribution in zip(
            (node.split("@")[0] for node in strongest["id"]), strongest["pos"], strongest["attribution"], strict=True
        )
    ]
    shares = [0.0] * len(meta.tokens)
    leaves = nodes[graph.is_leaf]
    for node, pos, attribution in zip(leaves["id"], leaves["pos"], leaves["attribution"], strict=True):
        # Leaves read nothing, so those of a group give what it does, each at its own token.
        for at, part in [(one.pos, one.attribution) for one in meta.groups.get(node, ())] or [(pos, attribution)]:
            shares[at] += float(part)
    left = [_faint(f"pruned {pruning_line(meta)}")] if meta.pruning else []
    body = [
        _heading("AttributionGraph", f"{meta.target.label} at {meta.target.pos}: {_signed(meta.value)}{unit}"),
        _faint(facts),
        *left,
        _token_strip([token.text for token in meta.tokens], shares, unit),
        _table(("component", "token", f"attribution{_in(unit)}"), rows),
    ]
    return _block(body)


def difference_html(difference: DifferenceData) -> str:
    """What changes from one graph to another: the logits, and the components that change most.

    Example:
        >>> mary, john = (attribution_graph(cache, model, answer) for answer in (" Mary", " John"))
        >>> "L23H3 at 14" in difference_html(mary.compare(john))
        True
    """
    a, b = difference.a, difference.b
    unit = " logits" if a.target.answer is not None and b.target.answer is not None else ""
    values = f"{_signed(b.value)} − ({_signed(a.value)}) = {_signed(difference.value)}{unit}"
    body = [
        _heading(
            "GraphDifference", f"{b.target.label} at {b.target.pos} − {a.target.label} at {a.target.pos}: {values}"
        ),
        _faint(f"{len(difference.nodes):,} nodes, {len(difference.edges):,} edges, aligned by {difference.by}"),
        _table(
            ("component", f"a{_in(unit)}", f"b{_in(unit)}", "b − a"),
            difference.strongest(_ROWS).itertuples(index=False, name=None),
        ),
    ]
    return _block(body)


def breakdown_html(breakdown: BreakdownData) -> str:
    """A breakdown's summary: its axes, and for each prompt and answer the strongest components with their sources.

    Example:
        >>> "L23H3" in breakdown_html(break_down(cache, model, " Mary", wrong_answers=" John"))
        True
    """
    unit = "" if breakdown.target.answers is None else " logits"
    axes = " ".join(f"{name}={len(labels)}" for name, labels in breakdown.axes.items())
    n_tokens, n_prompts = breakdown.totals.shape[:2]
    body = [
        _heading("Breakdown", f"[{axes}]"),
        _faint(f"completeness error {breakdown.completeness_error:.1e}"),
    ]
    places = itertools.product(range(n_prompts), range(n_tokens))
    for prompt, token in itertools.islice(places, _MOST_TABLES):
        value = float(breakdown.target.value[prompt, token])
        body.append(_heading(f"prompt {prompt}", f"{breakdown.axes['token'][token]}: {_signed(value)}{unit}"))
        rows = _breakdown_rows(breakdown, token, prompt)
        body.append(_table(("component", f"direct{_in(unit)}", "of which, the most"), rows))
    left = n_tokens * n_prompts - _MOST_TABLES
    if left > 0:
        body.append(_faint(f"… and {left:,} more; .strongest(token, prompt) lists any of them"))
    return _block(body)


def tree_html(tree: TreeData) -> str:
    """A tree to unfold: its strongest nodes, each with the sum of those that are left out.

    Example:
        >>> tree = attribution_tree(cache, model, " Mary", wrong_answers=" John")
        >>> tree_html(tree).count("<details") > 10
        True
    """
    from recursive_dla.output.tree_text import explained, facts, outline

    lines = outline(tree, _MOST_NODES)
    inner = {line.parent for line in lines}
    body, levels = [], 0
    for place, line in enumerate(lines):
        depth = len(line.last)
        body.append("</details>" * (levels - depth))
        levels = depth
        if place not in inner:
            body.append(f'<div style="{_BRANCH};padding-left:16px">{_tree_line(line.label, line.weight)}</div>')
            continue
        # The two levels that fit at a glance are open.
        opened = " open" if depth < 2 else ""
        body.append(
            f'<details style="{_BRANCH}"{opened}><summary style="cursor:pointer">{_tree_line(line.label, line.weight)}'
            "</summary>"
        )
        levels += 1
    body.append("</details>" * levels)
    return _block(
        [_heading("AttributionTree", f"{explained(tree)}, {len(tree.nodes):,} nodes"), _faint(facts(tree)), *body]
    )


def paths_html(paths: PathsData) -> str:
    """The paths as a table, and what they leave.

    Example:
        >>> paths = strongest_paths(cache, model, " Mary", wrong_answers=" John", count=2, max_nodes=40)
        >>> "L23H3@14 ← L0MLP@10" in paths_html(paths)
        True
    """
    from recursive_dla.output.tree_text import explained, hidden_paths, unit_of

    table, total = paths.table.head(_MOST_TOKENS), paths.total
    rows = list(zip(table["path"], table["weight"], map(_share, table["share"]), strict=True))
    rows += [
        (name, weight, _share(weight / total if total else float("nan")))
        for name, weight in (
            ("these paths", paths.explained),
            ("weaker paths that were found", paths.weaker),
            ("not explored", paths.unexplored),
        )
    ]
    unit = unit_of(paths.tree)
    return _block(
        [
            _heading("Paths", f"the {len(paths)} strongest of {explained(paths.tree)}"),
            _table(("path", f"weight{_in(unit)}", "share"), rows),
            _faint(hidden_paths(paths)),
        ]
    )


def _tree_line(label: str, weight: float) -> str:
    color = _RAISES if weight >= 0 else _LOWERS
    style = f"{_NUMBER};padding:0 6px;background:rgba({color},.25)"
    return f'<span style="{style}">{_signed(weight)}</span> {html.escape(label)}'


def _share(share: float) -> str:
    return f"{share:+.0%}".replace("-", "−") if share == share else "–"


def _breakdown_rows(breakdown: BreakdownData, token: int, prompt: int) -> list[tuple[str, float, str]]:
    texts = breakdown.tokens_of(prompt)
    rows = []
    for found in breakdown.strongest(token, prompt, count=_ROWS):
        parts = []
        for labels, part in found.sources:
            named = " ".join(label for axis, label in labels.items() if axis != "src_pos")
            if "src_pos" in labels:
                pos = int(labels["src_pos"])
                named += f" at {token_label(pos, texts[pos], _LONGEST_TEXT)}"
            parts.append(f"{_signed(part)} {named}")
        rows.append((found.label, found.total, "; ".join(parts)))
    return rows


# --- pieces of HTML, which escape all that they are given ------------------------------------------------------------


def _token_strip(texts: Sequence[str], shares: Sequence[float], unit: str) -> str:
    """The prompt, each token on a ground that is the stronger the more its leaves give."""
    largest = max(map(abs, shares), default=0.0) or 1.0
    # Of a long prompt the middle is left out: what matters most is often where it ends.
    left = max(0, len(texts) - _MOST_TOKENS)
    start = _MOST_TOKENS // 2 if left else len(texts)
    shown = []
    for pos, (text, share) in enumerate(zip(texts, shares, strict=True)):
        if start <= pos < start + left:
            if pos == start:
                shown.append(f"<span>… {left:,} more {'token' if left == 1 else 'tokens'} …</span>")
            continue
        color = _RAISES if share >= 0 else _LOWERS
        ground = f"background:rgba({color},{abs(share) / largest * 0.6:.2f})"
        hint = html.escape(f"{token_label(pos, text, _LONGEST_TEXT)}: {_signed(share)}{unit} from its embedding")
        shown.append(
            f'<span style="{ground};padding:0 1px" title="{hint}">{html.escape(visible(text, _LONGEST_TEXT))}</span>'
        )
    return f'<div style="margin:4px 0;line-height:1.6;font-family:monospace">{"<wbr>".join(shown)}</div>'


def _table(names: Sequence[str], rows: Iterable[Sequence[str | float]]) -> str:
    faint = f"{_CELL};opacity:.65;font-weight:normal;white-space:nowrap"
    head = "".join(f'<th style="{faint}">{html.escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    # Pages in quirks mode, as some front ends are, reset both within tables.
    style = "border-collapse:collapse;margin:2px 0;color:inherit;font-size:inherit"
    return f'<table style="{style}"><tr>{head}</tr>{body}</table>'


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f'<td style="{_CELL}">{html.escape(value)}</td>'
    color = _RAISES if value >= 0 else _LOWERS
    return f'<td style="{_NUMBER};background:rgba({color},.25)">{_signed(value)}</td>'


def _heading(name: str, text: str) -> str:
    return f"<div><b>{html.escape(name)}</b> {html.escape(visible_line(text))}</div>"


def _faint(text: str) -> str:
    return f'<div style="opacity:.65">{html.escape(visible_line(text))}</div>'


def _block(body: Iterable[str]) -> str:
    return f'<div style="font-size:13px">{"".join(body)}</div>'


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _in(unit: str) -> str:
    return f",{unit}" if unit else ""
