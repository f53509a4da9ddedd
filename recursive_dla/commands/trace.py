"""``recursive-dla trace``: explain one answer of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from recursive_dla.commands.model_run import (
    DEFAULT_RULE_NAME,
    AnswerOption,
    CheckOption,
    DeviceOption,
    Dtype,
    DtypeOption,
    ModelOption,
    ModelRun,
    PosOption,
    PromptArgument,
    RuleOption,
    WrongOption,
    run_model,
)
from recursive_dla.commands.printing import JsonOption, print_json, print_lines, stdout_for_the_answer

# Of a graph that is written without word of how to prune it.
DEFAULT_MAX_EDGES = 2000
# A graph of more edges than this is not made complete: these of its strongest are what the rest is done with.
LARGEST_COMPLETE = 25_000_000
STRONGEST = 100_000


def trace(
    prompt: PromptArgument,
    answer: AnswerOption,
    wrong: WrongOption = None,
    model: ModelOption = "demo",
    pos: PosOption = -1,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write the graph here: FILE.html to explore, FILE.json to load again, or any format of convert."
            " Repeat for several.",
            show_default=False,
        ),
    ] = None,
    max_edges: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Prune the written graph to so many of the strongest edges; to 2000 where nothing else is given.",
            show_default=False,
        ),
    ] = None,
    min_share: Annotated[
        float | None,
        typer.Option(min=0, help="Prune edges below this share of the logit explained.", show_default=False),
    ] = None,
    node_influence: Annotated[
        float | None,
        typer.Option(
            max=1,
            help="Keep the nodes that hold this share of the influence on the logit over all paths, such as 0.8.",
            show_default=False,
        ),
    ] = None,
    edge_influence: Annotated[
        float | None,
        typer.Option(max=1, help="The same for the edges left, such as 0.98.", show_default=False),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many heads, MLPs and predictions to list.")] = 5,
    rule: RuleOption = DEFAULT_RULE_NAME,
    dtype: DtypeOption = Dtype.float32,
    device: DeviceOption = "cpu",
    check: CheckOption = True,
    as_json: JsonOption = False,
) -> None:
    """Explain one answer of a model: which heads and MLPs wrote it, and what they read.

    Prints the prompt's tokens, the model's top predictions, the logit explained, the heads and MLPs that matter most,
    what each takes from which component at which token, and how exactly it all adds up.
    """
    from recursive_dla.graphs.pruning import checked_settings, only_given
    from recursive_dla.output.saving import check_writable

    paths = out or []
    written = [file for path in paths for file in check_writable(path).files(path)]
    pruning = only_given(
        max_edges=max_edges, min_share=min_share, node_influence=node_influence, edge_influence=edge_influence
    )
    if paths and not pruning:
        pruning = {"max_edges": DEFAULT_MAX_EDGES}
    if pruning:
        checked_settings(pruning)
    with stdout_for_the_answer():
        ran = run_model(prompt, answer, wrong, model=model, pos=pos, dtype=dtype, device=device)
        report, graph = _trace(ran, answer, wrong, pos, top, rule.value, check, max_edges or 0)
        pruned: Any = graph.prune(**pruning) if pruning else None
        for path in paths:
            pruned.save(path)
    if as_json:
        left = None if pruned is None else _size(pruned)
        document = {**report.to_dict(), "pruned": left, "files": list(map(str, written))}
        print_json(document)
        return
    from recursive_dla.output.trace_report import render, render_pruning

    console = Console()
    console.print(render(report))
    if pruned is not None:
        console.print(render_pruning(pruned))
    for path in written:
        print_lines(f"Wrote {path}")


def _size(graph: Any) -> dict[str, Any]:
    """What is left of a pruned graph, for JSON."""
    return {"nodes": len(graph.nodes), "edges": len(graph.edge_weight), **graph.metadata.pruning}


def _trace(
    ran: ModelRun, answer: str, wrong: str | None, pos: int, top: int, rule: str, check: bool, edges_wanted: int
) -> tuple[Any, Any]:
    from recursive_dla.attribution.components import head_components
    from recursive_dla.breakdown import break_down
    from recursive_dla.graph import attribution_graph
    from recursive_dla.graphs.memory_budget import complete_edges
    from recursive_dla.output.trace_report import trace_report

    model, logits, cache = ran
    explain: dict[str, Any] = {"wrong_answers": wrong, "pos": pos, "check": check}
    n_edges = complete_edges(head_components(cache.weights), logits.shape[1])
    limit = None if n_edges <= LARGEST_COMPLETE else max(edges_wanted, STRONGEST)
    graph = attribution_graph(cache, model, answer, rule=rule, max_edges=limit, **explain)
    heads = break_down(cache, model, answer, "heads", **explain)
    mlps = break_down(cache, model, answer, "mlps", rule=rule, **explain) if cache.weights.has_mlp else None
    return trace_report(graph, heads, mlps, logits[0], model, top=top), graph
