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
            help="Write the graph here: FILE.html to explore, FILE.json to load again. Repeat for several.",
            show_default=False,
        ),
    ] = None,
    max_edges: Annotated[int, typer.Option(min=1, help="How many of the strongest edges to write to files.")] = 2000,
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

    paths = out or []
    for path in paths:
        check_writable(path)
    # Libraries print as they load; stdout is kept for the answer.
    with contextlib.redirect_stdout(sys.stderr):
        report, graph = _trace(prompt, answer, wrong, model, pos, top, rule.value, dtype.value, device, check)
        for path in paths:
            graph.prune(max_edges=max_edges).save(path)
    if as_json:
        typer.echo(json.dumps({**report.to_dict(), "files": list(map(str, paths))}, ensure_ascii=False, indent=2))
        return
    from recursive_dla.report import render

    console = Console()
    console.print(render(report))
    for path in paths:
        console.print(f"Wrote {path}", highlight=False, markup=False, soft_wrap=True)


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
