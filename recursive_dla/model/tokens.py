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
    """The prompt's token ids, with the beginning-of-text token in front as the model's default has it.

    A prompt that itself begins with that token gets no second one.

    Raises:
        InputError: An empty prompt, or one of more tokens than the model has positions.
    """
    if not prompt:
        raise InputError("The prompt is empty. Give at least one token of text.")
    tokens = _beginning_as_written(model, prompt, model.to_tokens(prompt, truncate=False))
    n_ctx = getattr(model.cfg, "n_ctx", None)
    if n_ctx is not None and 0 < n_ctx < tokens.shape[1]:
        added = added_in_front(model, prompt, tokens)
        counted = f" (with {' '.join(map(repr, added))} in front)" if added else ""
        raise InputError(
            f"The prompt is too long: it is {tokens.shape[1]} tokens{counted}, and the model has {n_ctx} positions."
            " Give a shorter one."
        )
    return tokens


def added_in_front(model: Any, prompt: str, tokens: Int[Tensor, "batch pos"]) -> list[str]:
    """The texts of the beginning-of-text tokens in front of a prompt's :func:`prompt_tokens` that it does not write."""
    bos = model.tokenizer.bos_token_id
    ids = tokens[0].tolist()
    return token_texts(model, tokens[0, : max(0, _run(ids, bos) - _run(_encode(model, prompt), bos))])


def _beginning_as_written(model: Any, prompt: str, tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch new_pos"]:
    """The tokens of a prompt that begins with the beginning-of-text token, with as many of them as it has.

    Whether the model's default adds one to them, the tokenizer does, or TransformerLens takes one away.
    """
    bos, written = model.tokenizer.bos_token_id, 0
    # The text must say so, as a tokenizer may have the same token for what it does not know.
    if bos is not None and prompt.lstrip().startswith(model.tokenizer.bos_token):
        written = _run(_encode(model, prompt), bos)
    if not written:
        return tokens
    body = tokens[:, _run(tokens[0].tolist(), bos) :]
    return torch.cat([body.new_full((len(body), written), bos), body], 1)


def _run(ids: list[int], token: int | None) -> int:
    """How often ``token`` stands at the beginning."""
    return next((place for place, other in enumerate(ids) if other != token), len(ids))


def padding_lengths(model: Any, ids: Int[Tensor, "batch pos"]) -> Int[Tensor, " batch"]:
    """How many padding tokens each prompt of a batch ends in.

    Many tokenizers pad with a token that text has, too: mostly the one that ends a text or a turn of a chat. Such
    tokens at the end are taken for padding where the prompts end in different numbers of them, or all in several. Where
    every prompt ends in one at least, and some in just one, that one is theirs.
    """
    none = torch.zeros(len(ids), dtype=torch.long, device=ids.device)
    pad = padding_id(model)
    if pad is None:
        return none
    padding = ids == pad
    trailing = padding.flip(1).cumprod(1).sum(1)
    tokenizer = model.tokenizer
    if pad not in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id):
        return trailing
    leading = padding.cumprod(1).sum(1)[trailing < ids.shape[1]]
    if trailing.max() <= 1 and len(leading) and leading.min() != leading.max():
        # Padded in front; what stands behind belongs to the prompts.
        return none
    return trailing - 1 if trailing.min() == 1 else trailing


def padding_id(model: Any) -> int | None:
    """The token that the model's tokenizer pads with, if there is one."""
    return getattr(getattr(model, "tokenizer", None), "pad_token_id", None)
