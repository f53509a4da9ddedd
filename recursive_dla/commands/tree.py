"""``recursive-dla tree``: what feeds an answer, path by path."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from recursive_dla.commands.model_run import (
    DEFAULT_RULE_NAME,
    AnswerOption,
    CheckOption,
    DeviceOption,
    Dtype,
    DtypeOption,
    ModelOption,
    PosOption,
    PromptArgument,
    RuleOption,
    WrongOption,
    run_model,
)
from recursive_dla.commands.printing import JsonOption, print_json, print_lines, stdout_for_the_answer

_PATHS_LIMIT = 5000


class Unit(str, Enum):
    """What the nodes of a tree are."""

    heads = "heads"
    layers = "layers"
    neurons = "neurons"


def tree(
    prompt: PromptArgument,
    answer: AnswerOption,
    wrong: WrongOption = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Start from a component at a position instead of the answer: L23H3@14, L0MLP@4; -1 is the last.",
            show_default=False,
        ),
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="How many levels.", show_default="3; any with --paths")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="How many sources of each node.", show_default="5; 100 with --paths"),
    ] = None,
    min_share: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="The least share of the root's weight that a source must have.",
            show_default="0.01; 0 with --paths",
        ),
    ] = None,
    max_nodes: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many nodes to expand at most.", show_default=f"1000; {_PATHS_LIMIT} with --paths"
        ),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.0, help="For how long to expand nodes at most.", show_default=False)
    ] = None,
    paths: Annotated[
        int | None,
        typer.Option(min=1, help="List this many of the strongest complete paths instead.", show_default=False),
    ] = None,
    unit: Annotated[
        Unit, typer.Option(help="What the nodes are: heads and MLPs, whole layers, or neurons too.")
    ] = Unit.heads,
    rows: Annotated[int, typer.Option(min=1, help="How many of the strongest nodes to print.")] = 60,
    out: Annotated[
        Path | None, typer.Option(help="Write the tree here: FILE.json, to load again.", show_default=False)
    ] = None,
    model: ModelOption = "demo",
    pos: PosOption = -1,
    rule: RuleOption = DEFAULT_RULE_NAME,
    dtype: DtypeOption = Dtype.float32,
    device: DeviceOption = "cpu",
    check: CheckOption = True,
    as_json: JsonOption = False,
) -> None:
    """Show what feeds an answer, and what feeds that, path by path; every level adds up.

    With --start, what feeds one head, MLP or neuron. With --paths, the strongest chains from the tokens to the answer.
    Ctrl-C stops the search; what was found is printed.
    """
    from recursive_dla.output.files.tree_json import check_writable, tree_document
    from recursive_dla.tree import attribution_tree
    from recursive_dla.trees.vocabulary import parse_start

    if out is not None:
        check_writable(out)
    if start is not None:
        parse_start(start)
    with stdout_for_the_answer():
        ran = run_model(prompt, answer, wrong, model=model, pos=pos, dtype=dtype, device=device)
        searching = paths is not None
        found = attribution_tree(
            ran.cache,
            ran.model,
            answer,
            wrong_answers=wrong,
            pos=pos,
            start=start,
            unit=unit.value,
            depth=depth,
            top_k=top_k or (100 if searching else 5),
            min_share=min_share if min_share is not None else (0.0 if searching else 0.01),
            max_nodes=0,
            rule=rule.value,
            check=check,
        )
        found.grow(
            max_nodes or (_PATHS_LIMIT if searching else 1000),
            depth=depth if depth is not None or searching else 3,
            max_seconds=max_seconds,
            paths=paths,
        )
        strongest = None if paths is None else found.paths(paths)
        if out is not None:
            found.save(out)
    if as_json:
        document = tree_document(found) if strongest is None else strongest.to_dict()
        print_json({**document, "files": [] if out is None else [str(out)]})
        return
    from recursive_dla.output.tree_text import tree_text

    print_lines(tree_text(found, rows) if strongest is None else str(strongest))
    if out is not None:
        print_lines(f"Wrote {out}")
