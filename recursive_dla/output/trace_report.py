"""The summary of a trace: which components matter and what they read, as plain data and as terminal tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from recursive_dla.attribution.breakdown_data import BreakdownData
from recursive_dla.graphs.data import GraphData, GraphMetadata
from recursive_dla.model.tokens import token_texts
from recursive_dla.output.files.graph_document import metadata_document
from recursive_dla.output.style import subject
from recursive_dla.output.summary_text import pruning_line
from recursive_dla.output.terminal import colored, report_line, shown, table_of_numbers


@dataclass(frozen=True)
class Prediction:
    """One of the model's top predictions."""

    token: str
    token_id: int
    probability: float


@dataclass(frozen=True)
class Source:
    """What a head or an MLP takes from one component at one position, in logits."""

    component: str
    pos: int
    token: str
    attribution: float


@dataclass(frozen=True)
class Contribution:
    """One head's or MLP's contribution to the answer at the target position, in logits.

    ``direct`` is what it writes straight into the logit; ``total`` adds what later components make of it, and is
    ``None`` if the graph does not have the node. ``sources`` break ``direct`` down.
    """

    component: str
    direct: float
    total: float | None
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class TraceReport:
    """All that ``recursive-dla trace`` prints."""

    metadata: GraphMetadata
    predictions: tuple[Prediction, ...]
    heads: tuple[Contribution, ...]
    mlps: tuple[Contribution, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "metadata": metadata_document(self.metadata)}


def trace_report(
    graph: GraphData, heads: BreakdownData, mlps: BreakdownData | None, logits: Tensor, model: Any, *, top: int
) -> TraceReport:
    """Put a trace's numbers together.

    Args:
        graph: The graph of one prompt, complete or its strongest edges.
        heads: The breakdown of its heads.
        mlps: The breakdown of its MLPs, if the model has any.
        logits: The model's, ``[pos d_vocab]``.
        model: For the texts of tokens.
        top: How many heads, MLPs and predictions to list.
    """
    best = logits[graph.metadata.target.pos].float().softmax(-1).topk(min(top, logits.shape[-1]))
    predictions = zip(token_texts(model, best.indices), best.indices.tolist(), best.values.tolist(), strict=True)
    return TraceReport(
        metadata=graph.metadata,
        predictions=tuple(Prediction(*prediction) for prediction in predictions),
        heads=_contributions(heads, graph, top),
        mlps=() if mlps is None else _contributions(mlps, graph, top),
    )


def _contributions(breakdown: BreakdownData, graph: GraphData, top: int) -> tuple[Contribution, ...]:
    meta = graph.metadata
    totals = graph.nodes.set_index("id")["attribution"]
    found = []
    for strongest in breakdown.strongest(count=top):
        sources = []
        for labels, part in strongest.sources:
            pos = int(labels.get("src_pos", meta.target.pos))
            sources.append(Source(labels["src_comp"], pos, meta.tokens[pos].text, part))
        total = totals.get(f"{strongest.label}@{meta.target.pos}")
        found.append(
            Contribution(strongest.label, strongest.total, None if total is None else float(total), tuple(sources))
        )
    return tuple(found)


def render(report: TraceReport) -> RenderableType:
    """The report for a terminal."""
    meta = report.metadata
    tokens = Text(" ").join(
        Text.assemble((str(token.pos), "dim"), (repr(token.text), "bold" if token.pos == meta.target.pos else ""))
        for token in meta.tokens
    )
    predictions = ", ".join(f"{p.token!r} {p.probability:.3f}" for p in report.predictions)
    mlps = (Text(), _table("MLPs", report.mlps)) if report.mlps else ()
    return Group(
        report_line("Model", meta.model),
        report_line("Tokens", tokens),
        report_line("Predicts", f"{predictions} (after token {meta.target.pos})"),
        report_line("Explained", f"{subject(meta.target)}: ", (f"{meta.value:+.4f}", "bold"), " logits"),
        report_line("Adds up to", f"{meta.completeness_error:.1e} relative, at every node"),
        Text(),
        _table("Heads", report.heads),
        *mlps,
        Text(),
        Text(
            "Logits; positive raises the answer. direct: written into the logit."
            " total: with what later layers make of it."
        ),
    )


def render_pruning(graph: GraphData) -> RenderableType:
    """How large a pruned graph is, and what is left in it, for a terminal."""
    size = f"{len(graph.nodes):,} nodes and {len(graph.edge_weight):,} edges"
    return Group(Text(), report_line("Pruned to", f"{size}, {pruning_line(graph.metadata)}"))


def _table(title: str, contributions: tuple[Contribution, ...]) -> Table:
    table = table_of_numbers(title, "direct", "total")
    table.add_column("of direct, the most from")
    for row in contributions:
        sources = Text("\n").join(
            shown(f"{source.attribution:+.3f} {source.component} at {source.pos} {source.token!r}")
            for source in row.sources
        )
        total = Text("–", style="dim") if row.total is None else colored(row.total)
        table.add_row(shown(row.component), colored(row.direct), total, sources)
    return table
