"""An attention-only model of two layers whose circuits are known, because its weights are written by hand.

The residual stream holds five blocks, one dimension for each token or position:

    token        the token itself                      written by embed
    position     where it is                           written by pos_embed
    previous     the token before it                   written by L0H0, which attends to the position before
    copy         the token itself once more            written by L0H1, which attends to its own position
    next         what comes next                       written by layer 1, and read by the unembedding

L1H0 is an induction head by the classic K-composition: its query asks for the positions whose *previous* token is the
current one, and its value carries the *token* there into ``next``. With patterns frozen, its answer comes straight from
the embedding of the token after the previous occurrence: ``L1H0@last ← embed@(previous occurrence + 1)``.

L1H1 attends to the same positions, but its value reads *copy*: its answer takes one step more, through the OV circuit
of L0H1: ``L1H1@last ← L0H1@(previous occurrence + 1) ← embed@(previous occurrence + 1)``.

There are no norms and no biases, so what each path carries can be worked out from patterns and weights alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge, sources  # noqa: F401  sources brings boot_native

WORDS, POSITIONS = 23, 29
DIRECT, COPIED = 3.0, 2.0
"""What L1H0 and L1H1 write for each unit of attention."""
_SHARP = 30.0


@torch.no_grad()
def induction_model() -> Any:
    """The model, in float64."""
    d_head = max(WORDS, POSITIONS)
    token, position = 0, WORDS
    previous, copy, following = (WORDS * index + POSITIONS for index in (1, 2, 3))
    model = TransformerBridge.boot_native(
        {
            "n_layers": 2,
            "n_heads": 2,
            "d_head": d_head,
            "d_model": 4 * WORDS + POSITIONS,
            "d_vocab": WORDS,
            "n_ctx": POSITIONS,
            "attn_only": True,
            "normalization_type": None,
        }
    )
    model = model.double().eval()
    for parameter in model.parameters():
        parameter.zero_()
    words, places = torch.arange(WORDS), torch.arange(POSITIONS)
    parameters = _parameters(model)
    parameters["embed"][words, token + words] = 1
    parameters["pos_embed"][places, position + places] = 1
    parameters["unembed"][following + words, words] = 1
    sharp = (_SHARP * d_head**0.5) ** 0.5

    def head(layer: int, head: int, query: tuple[Tensor, Tensor], key: tuple[Tensor, Tensor], read: int, write: int):
        """Queries and keys map rows of the stream to the same dimensions of the head; values carry words."""
        part = {name: parameters[f"{layer}.{name}"][head] for name in ("W_Q", "W_K", "W_V", "W_O")}
        part["W_Q"][query] = sharp
        part["W_K"][key] = sharp
        part["W_V"][read + words, words] = 1
        part["W_O"][words, write + words] = 1 if layer == 0 else (DIRECT, COPIED)[head]

    head(0, 0, (position + places[1:], places[:-1]), (position + places, places), token, previous)
    head(0, 1, (position + places, places), (position + places, places), token, copy)
    for place, read in enumerate((token, copy)):
        head(1, place, (token + words, words), (previous + words, words), read, following)
    return model


def _parameters(model: Any) -> dict[str, Tensor]:
    """Views of the weights by short names, heads first."""
    found = {
        "embed": model.embed.W_E,
        "pos_embed": model.pos_embed.W_pos,
        "unembed": model.unembed.W_U,
    }
    for layer, block in enumerate(model.blocks):
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            found[f"{layer}.{name}"] = getattr(block.attn, name)
    return found


def repeated(seed: int) -> Tensor:
    """A random sequence of different words, and its start once more: ``[1 pos]``."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randperm(WORDS, generator=generator)[: 7 + seed % 5]
    return torch.cat([words, words[: 3 + seed % 3]])[None]
