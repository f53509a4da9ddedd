"""``recursive-dla trace``: explain one answer of a model."""

from __future__ import annotations

import contextlib
import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from recursive_dla.errors import InputError
from recursive_dla.rules import DEFAULT_RULE, RULES

RuleName = Enum("RuleName", {name: name for name in RULES}, type=str)  # type: ignore[misc]
_DEFAULT_RULE = RuleName(DEFAULT_RULE)
# Of a graph that is written without word of how to prune it.
DEFAULT_MAX_EDGES = 2000


class Dtype(str, Enum):
    """Precisions that a model can be loaded in."""

    float64 = "float64"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def trace(
    prompt: Annotated[str, typer.Argument(help="The text that the model continues.", show_default=False)],
    answer: Annotated[
        str,
        typer.Option(help="The token to explain. In running text it starts with a space: ' Mary'.", show_default=False),
    ],
    wrong: Annotated[
        str | None, typer.Option(help="A token to subtract: explains the logit difference.", show_default=False)
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="'demo' (SmolLM2-135M-Instruct, fetched once), a local folder, or a Hugging Face name."),
    ] = "demo",
    pos: Annotated[int, typer.Option(help="The token after which the answer is read; negative from the end.")] = -1,
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
    rule: Annotated[RuleName, typer.Option(help="How credit goes through MLPs.")] = _DEFAULT_RULE,
    dtype: Annotated[Dtype, typer.Option(help="The precision to load the model in.")] = Dtype.float32,
    device: Annotated[str, typer.Option(help="Where to run: 'cpu', 'cuda', 'mps'.")] = "cpu",
    check: Annotated[bool, typer.Option(help="Verify the model's activations before any number is given.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")] = False,
) -> None:
    """Explain one answer of a model: which heads and MLPs wrote it, and what they read.

    Prints the prompt's tokens, the model's top predictions, the logit explained, the heads and MLPs that matter most,
    what each takes from which component at which token, and how exactly it all adds up.
    """
    from recursive_dla.export import check_writable
    from recursive_dla.pruning import check_settings

    paths = out or []
    written = [file for path in paths for file in check_writable(path).files(path)]
    pruning = _given(
        max_edges=max_edges, min_share=min_share, node_influence=node_influence, edge_influence=edge_influence
    )
    if paths and not pruning:
        pruning = {"max_edges": DEFAULT_MAX_EDGES}
    if pruning:
        check_settings(pruning)
    # Libraries print as they load; stdout is kept for the answer.
    with contextlib.redirect_stdout(sys.stderr):
        report, graph = _trace(prompt, answer, wrong, model, pos, top, rule.value, dtype.value, device, check)
        pruned: Any = graph.prune(**pruning) if pruning else None
        for path in paths:
            pruned.save(path)
    if as_json:
        left = None if pruned is None else _size(pruned)
        document = {**report.to_dict(), "pruned": left, "files": list(map(str, written))}
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    from recursive_dla.report import render, render_pruning

    console = Console()
    console.print(render(report))
    if pruned is not None:
        console.print(render_pruning(pruned))
    for path in written:
        console.print(f"Wrote {path}", highlight=False, markup=False, soft_wrap=True)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _size(graph: Any) -> dict[str, Any]:
    """What is left of a pruned graph, for JSON."""
    return {"nodes": len(graph.nodes), "edges": len(graph.edge_weight), **graph.metadata.pruning}


def _trace(
    prompt: str,
    answer: str,
    wrong: str | None,
    model_name: str,
    pos: int,
    top: int,
    rule: str,
    dtype: str,
    device: str,
    check: bool,
) -> tuple[Any, Any]:
    import torch
    from transformers.utils import logging

    from recursive_dla.adapters import load_model, model_weights, prompt_tokens, token_ids
    from recursive_dla.attribution import attribution_graph
    from recursive_dla.breakdown import break_down
    from recursive_dla.cache import as_cache
    from recursive_dla.report import trace_report
    from recursive_dla.targets import resolve_positions

    if not prompt:
        raise InputError("The prompt is empty. Give at least one token of text.")
    logging.disable_progress_bar()
    model = load_model(model_name, device=_device(device), dtype=getattr(torch, dtype))
    model_weights(model)
    for token in (answer, wrong):
        if token is not None:
            token_ids(model, token)
    tokens = prompt_tokens(model, prompt)
    resolve_positions(pos, 1, tokens.shape[1])
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
    cache = as_cache(cache, model)
    explain: dict[str, Any] = {"wrong_answers": wrong, "pos": pos, "check": check}
    graph = attribution_graph(cache, model, answer, rule=rule, **explain)
    heads = break_down(cache, model, answer, "heads", **explain)
    mlps = break_down(cache, model, answer, "mlps", rule=rule, **explain) if cache.weights.has_mlp else None
    return trace_report(graph, heads, mlps, logits[0], model, top=top), graph


def _device(name: str) -> Any:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Device {name!r} cannot be used here: {reason}.") from error
    return torch.device(name)
