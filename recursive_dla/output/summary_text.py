"""Graphs, differences and breakdowns as the few lines that ``print`` gives."""

from __future__ import annotations

import itertools

from recursive_dla.attribution.breakdown_data import BreakdownData
from recursive_dla.attribution.labels import visible_line
from recursive_dla.graphs.comparison import DifferenceData
from recursive_dla.graphs.data import GraphData, GraphMetadata
from recursive_dla.output.style import subject


def graph_text(graph: GraphData) -> str:
    """What a graph explains, how large it is, how well it adds up, and what was done with it."""
    meta = graph.metadata
    lines = [
        f"AttributionGraph of {subject(meta.target)}: {meta.value:+.4f} logits, "
        f"{len(graph.nodes):,} nodes, {len(graph.edge_weight):,} edges",
        f"{meta.model}, rule {meta.rule}, completeness error {meta.completeness_error:.1e}",
    ]
    if meta.groups:
        members = sum(map(len, meta.groups.values()))
        lines.append(f"{members:,} nodes grouped into {len(meta.groups):,}")
    if meta.pruning:
        lines.append(f"pruned {pruning_line(meta)}")
    return "\n".join(map(visible_line, lines))


def pruning_line(metadata: GraphMetadata) -> str:
    """How large a pruned graph was before, and how much of the logit and of the influence is left, where known."""
    pruning, parts = metadata.pruning or {}, []
    if {"nodes_before", "edges_before"} <= pruning.keys():
        parts.append(f"from {pruning['nodes_before']:,} nodes and {pruning['edges_before']:,} edges")
    if {"logit_kept", "influence_kept"} <= pruning.keys():
        left = f"{pruning['logit_kept']:+.4f} of {metadata.value:+.4f} logits"
        parts.append(f"{left} and {pruning['influence_kept']:.1%} of the influence come from its leaves")
    return "; ".join(parts)


def difference_text(difference: DifferenceData) -> str:
    """The change of the logit, and the components that change most."""
    a, b = difference.a, difference.b
    values = f"{b.value:+.4f} − ({a.value:+.4f}) = {difference.value:+.4f} logits"
    subjects = " − ".join(subject(meta.target) for meta in (b, a))
    lines = [
        f"GraphDifference {subjects}: {values}",
        f"aligned by {difference.by}; {len(difference.nodes):,} nodes, {len(difference.edges):,} edges; strongest:",
    ]
    for row in difference.strongest().itertuples():
        lines.append(f"  {row.name:<24} {row.a:+.3f} → {row.b:+.3f}  {row.difference:+.3f}")
    return "\n".join(map(visible_line, lines))


def breakdown_text(breakdown: BreakdownData) -> str:
    """For each prompt and answer the strongest components, each with its strongest source."""
    shape = " ".join(f"{name}={len(labels)}" for name, labels in breakdown.axes.items())
    lines = [f"Breakdown [{shape}], completeness error {breakdown.completeness_error:.1e}"]
    for prompt, token in itertools.product(range(breakdown.totals.shape[1]), range(breakdown.totals.shape[0])):
        value = float(breakdown.target.value[prompt, token])
        lines.append(f"prompt {prompt}, {breakdown.axes['token'][token]}: {value:+.3f} logits; strongest:")
        for found in breakdown.strongest(token, prompt, sources=1):
            source, part = found.sources[0]
            where = f" at {source['src_pos']}" if "src_pos" in source else ""
            lines.append(f"  {found.label:8} {found.total:+.3f}, of which {part:+.3f} from {source['src_comp']}{where}")
    return "\n".join(map(visible_line, lines))
