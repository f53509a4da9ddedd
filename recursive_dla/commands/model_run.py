"""What commands that run a model share: its options, and from a prompt to a cache."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, NamedTuple

import typer

from recursive_dla.attribution.mlp_rules import DEFAULT_RULE, RULES
from recursive_dla.errors import InputError

RuleName = Enum("RuleName", {name: name for name in RULES}, type=str)  # type: ignore[misc]
DEFAULT_RULE_NAME = RuleName(DEFAULT_RULE)


class Dtype(str, Enum):
    """Precisions that a model can be loaded in."""

    float64 = "float64"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


PromptArgument = Annotated[str, typer.Argument(help="The text that the model continues.", show_default=False)]
AnswerOption = Annotated[
    str,
    typer.Option(help="The token to explain. In running text it starts with a space: ' Mary'.", show_default=False),
]
WrongOption = Annotated[
    str | None, typer.Option(help="A token to subtract: explains the logit difference.", show_default=False)
]
ModelOption = Annotated[
    str,
    typer.Option(help="'demo' (SmolLM2-135M-Instruct, fetched once), a local folder, or a Hugging Face name."),
]
PosOption = Annotated[int, typer.Option(help="The token after which the answer is read; negative from the end.")]
RuleOption = Annotated[RuleName, typer.Option(help="How credit goes through MLPs.")]
DtypeOption = Annotated[Dtype, typer.Option(help="The precision to load the model in.")]
DeviceOption = Annotated[str, typer.Option(help="Where to run: 'cpu', 'cuda', 'mps'.")]
CheckOption = Annotated[bool, typer.Option(help="Verify the model's activations before any number is given.")]


class ModelRun(NamedTuple):
    """A model that ran on one prompt."""

    model: Any
    logits: Any
    cache: Any


def run_model(
    prompt: str, answer: str, wrong: str | None, *, model: str, pos: int, dtype: Dtype, device: str
) -> ModelRun:
    """Load a model and run it on a prompt, once everything that was asked for is known to make sense.

    What is put before the prompt is said on stderr.

    Raises:
        InputError: An empty prompt or one too long, a model, device, answer or position that there is not.
    """
    import torch
    from transformers.utils import logging

    from recursive_dla.attribution.targets import resolve_positions
    from recursive_dla.cache.activation_cache import as_cache
    from recursive_dla.model.loading import load_model
    from recursive_dla.model.tokens import added_in_front, prompt_tokens, token_ids
    from recursive_dla.model.transformer_lens import model_weights

    if not prompt:
        raise InputError("The prompt is empty. Give at least one token of text.")
    logging.disable_progress_bar()
    loaded = load_model(model, device=_device(device), dtype=getattr(torch, dtype.value))
    model_weights(loaded)
    for token in (answer, wrong):
        if token is not None:
            token_ids(loaded, token)
    tokens = prompt_tokens(loaded, prompt)
    resolve_positions(pos, 1, tokens.shape[1])
    added = added_in_front(loaded, prompt, tokens)
    if added:
        typer.echo(f"Put before the prompt, as is the model's default: {' '.join(map(repr, added))}", err=True)
    with torch.no_grad():
        logits, cache = loaded.run_with_cache(tokens)
    return ModelRun(loaded, logits, as_cache(cache, loaded))


def _device(name: str) -> Any:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Device {name!r} cannot be used here: {reason}.") from error
    return torch.device(name)
