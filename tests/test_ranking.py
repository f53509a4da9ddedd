"""The ranking: through values alone the graph's numbers, through queries and keys the derivative of the heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import EVERY_MODEL, run
from torch import Tensor

from recursive_dla import InputError, UnsupportedModelError, attribution_graph
from recursive_dla.attribution.ranking import PathWeights, rank_components, through_scores
from recursive_dla.attribution.targets import direction_target
from recursive_dla.cache.activation_cache import as_cache

VALUES_ONLY = PathWeights(value=1.0, query=0.0, key=0.0)


@pytest.mark.parametrize("name", ["gpt2", "llama-biased", "gpt-neox", "phi"])
def test_a_ranking_through_values_alone_is_the_graphs(name: str) -> None:
    model, _, _, cached = run(name)
    scores = rank_components(cached, model, 5, weights=VALUES_ONLY, check=False).set_index("id")["score"]
    nodes = attribution_graph(cached, model, 5, check=False).nodes.set_index("id")["attribution"]
    shared = scores.index.intersection(nodes.index)
    assert len(shared) > 10
    torch.testing.assert_close(torch.tensor(scores[shared].to_numpy()), torch.tensor(nodes[shared].to_numpy()))
    assert scores.is_monotonic_decreasing


def through_head_norm(model: Any, cache: Any, layer: int, path: str, bump: Tensor) -> tuple[str, Tensor]:
    """Where to add a change of the queries or keys, and as what: behind the norm on them, if any, at its own scale."""
    attn = model.blocks[layer].attn
    norm = getattr(attn, f"{path}_norm", None)
    if norm is None:
        return f"blocks.{layer}.attn.hook_{path}", bump
    name = f"blocks.{layer}.attn.{path}_norm.hook_out"
    scale, out = cache[f"blocks.{layer}.attn.{path}_norm.hook_scale"], cache[name]
    weight = norm.w.detach() + (1 if norm.uses_weight_offset else 0)
    # Of each head, [batch head pos d_head]; or of all heads together, [batch pos head·d_head].
    return name, (bump.transpose(1, 2) if out.ndim == 4 else bump.flatten(2)) * weight / scale


@pytest.mark.parametrize("path", ["q", "k"])
@pytest.mark.parametrize("name", EVERY_MODEL)
def test_credit_through_scores_is_the_derivative_of_the_heads(name: str, path: str) -> None:
    """Of a layer's heads with everything else frozen: perturbing what made queries, or keys, moves the answer by it.

    By finite differences through the model's own attention: its rotations, windows, soft caps and softmax.
    """
    model, tokens, _, cached = run(name)
    cache = as_cache(cached, model)
    last = cache.weights.n_layers - 1
    # As small as can be: Hugging Face computes the softmax in float32.
    step = 1e-3
    generator = torch.Generator().manual_seed(7)
    bump = torch.randn(cache[path, last].shape, dtype=torch.float64, generator=generator)
    hook, moved_by = through_head_norm(model, cached, last, path, bump)

    def heads_with(sign: float) -> Tensor:
        z = {}
        with torch.no_grad():
            model.run_with_hooks(
                tokens,
                fwd_hooks=[
                    (hook, lambda value, hook: value + sign * step * moved_by),
                    (f"blocks.{last}.attn.hook_z", lambda value, hook: z.update(z=value)),
                ],
            )
        return z["z"]

    g = torch.randn(cache["resid_pre", 0].shape[1:], dtype=torch.float64, generator=generator)
    layer = cache.weights.layers[last]
    at_z = torch.einsum("qm,hdm->qhd", g, layer.attention.W_O)[None]
    found = through_scores(cache, last, layer, at_z, check=True)[path == "k"]
    moved = torch.einsum("bqhd,bqhd->", at_z, heads_with(1) - heads_with(-1)) / (2 * step)
    terms = found * bump
    # Relative to what is summed, which may cancel.
    assert float(terms.sum()) == pytest.approx(float(moved), abs=1e-3 * float(terms.abs().sum()))


def test_scores_that_cannot_be_followed_are_refused_unless_they_are_not_looked_at() -> None:
    model, tokens, _, _ = run("gpt2")
    hook = ("blocks.1.attn.hook_attn_scores", lambda scores, hook: scores * torch.arange(7).double())
    with model.hooks(fwd_hooks=[hook]):
        _, cached = model.run_with_cache(tokens)
    with pytest.raises(UnsupportedModelError, match="attention scores of gpt2 cannot be made again"):
        rank_components(cached, model, 5)
    assert len(rank_components(cached, model, 5, weights=VALUES_ONLY))


def test_nothing_is_ranked_before_the_first_layer() -> None:
    model, _, _, activations = run("gpt2")
    cache = as_cache(activations, model)
    direction = torch.ones(cache.weights.d_model, dtype=torch.float64)
    first, none = (rank_components(cache, model, direction_target(cache, direction, layer=layer)) for layer in (1, 0))
    assert len(none) == 0 < len(first)
    assert none.columns.tolist() == first.columns.tolist()


def test_one_prompt_and_one_answer_at_a_time() -> None:
    model, _, _, cached = run("gpt2", prompts=3)
    with pytest.raises(InputError, match=r"Got \(3, 1\)"):
        rank_components(cached, model, 5)
