"""The oracles themselves: what they say of a model is what the model does."""

from __future__ import annotations

import pytest
import torch
from models import EVERY_MODEL, POSITIONS, PROMPTS, precision, run, uncapped
from oracles import Frozen, assert_close, head_breakdown


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_the_frozen_model_gives_the_models_own_logits(name: str) -> None:
    """So weights, norms, activations and routing are read right, without the package."""
    model, _, logits, cache = run(name, prompts=PROMPTS)
    for prompt, pos in ((0, POSITIONS - 1), (PROMPTS - 1, 2)):
        frozen = Frozen(model, cache, prompt)
        u = frozen.direction(5, 17)
        found = frozen.forward(u, pos)[0] + sum(frozen.logit_constants(u, 5, 17).values())
        expected = uncapped(model, logits[prompt, pos])
        assert_close(found[None], (expected[5] - expected[17])[None], max(1e-9, precision(name)))


def test_comparing_fails_on_what_differs() -> None:
    assert_close([1.0, 2.0], torch.tensor([1.0, 2.0 + 1e-7]), 1e-7)
    for found, expected in (
        ([1.0, 2.0], [1.0, 2.0 + 1e-6]),
        ([1.0, 2.0], [1.0]),
        ([1.0, float("nan")], [1.0, 2.0]),
        ([1.0, 2.0], [1.0, float("nan")]),
        ([0.0], [0.0]),
    ):
        with pytest.raises(AssertionError):
            assert_close(found, expected, 1e-7)


def test_a_breakdown_by_hand() -> None:
    """One number of the loops, written out once more."""
    model, _, _, cache = run("gpt2")
    frozen = Frozen(model, cache)
    values, _ = head_breakdown(frozen, frozen.direction(5), 6)
    with torch.no_grad():
        block, source = model.blocks[1], cache["mlp_out", 0][0, 4]
        stream = cache["resid_pre", 1][0, 4]
        read = (source - source.mean()) / stream.std(unbiased=False) * block.ln1.weight
        result = cache["pattern", 1][0, 1, 6, 4] * read @ block.attn.W_V[1] @ block.attn.W_O[1]
        final = cache["resid_post", 2][0, 6]
        direct = (result - result.mean()) / final.std(unbiased=False) * model.ln_final.weight @ model.W_U[:, 5]
    assert_close(values[1, 1, 4, 3][None], direct[None], 1e-5)  # eps left out
