"""Between texts and token ids, with a model's own tokenizer."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from recursive_dla.errors import InputError


def token_ids(model: Any, tokens: str | int | list[str | int]) -> Int[Tensor, " token"]:
    """Vocabulary ids of single tokens, given as strings or ids.

    Raises:
        InputError: A string that is not exactly one token (its pieces are shown), an id outside the vocabulary.
    """
    given = [tokens] if isinstance(tokens, (str, int)) else list(tokens)
    return torch.tensor([_token_id(model, token) for token in given], dtype=torch.long)


def _token_id(model: Any, token: str | int) -> int:
    if isinstance(token, str):
        if getattr(model, "tokenizer", None) is None:
            raise InputError(f"The model has no tokenizer, so the answer {token!r} must be given as a token id.")
        ids = _encode(model, token)
        if len(ids) != 1:
            pieces = [model.tokenizer.decode([i]) for i in ids]
            spaced = f" {token!r} with a space before it is one." if len(_encode(model, f" {token}")) == 1 else ""
            raise InputError(f"The answer {token!r} must be one token. It is {len(ids)}: {pieces}.{spaced}")
        return ids[0]
    d_vocab = model.cfg.d_vocab_out if getattr(model.cfg, "d_vocab_out", -1) > 0 else model.cfg.d_vocab
    if not 0 <= token < d_vocab:
        raise InputError(f"A token id must be from 0 to {d_vocab - 1}. Got {token}.")
    return int(token)


def _encode(model: Any, text: str) -> list[int]:
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def token_texts(model: Any, ids: Int[Tensor, " token"]) -> list[str]:
    """The text of each token id; its number where the model has no tokenizer."""
    tokenizer = getattr(model, "tokenizer", None)
    return [str(i) if tokenizer is None else tokenizer.decode([i]) for i in ids.tolist()]


def prompt_tokens(model: Any, prompt: str) -> Int[Tensor, "batch pos"]:
    """The prompt's token ids, with the beginning-of-text token prepended as the model's default has it."""
    if not prompt:
        raise InputError("The prompt is empty. Give at least one token of text.")
    return model.to_tokens(prompt)
