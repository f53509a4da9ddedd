"""Targets other than logits, and the ranking: against the model's own numbers."""

from __future__ import annotations

import pytest
import torch
from models import EVERY_MODEL, TWO_MODELS, run, tiny

from recursive_dla import (
    InputError,
    UnsupportedModelError,
    attribution_graph,
    break_down,
    centred_logit_target,
    direction_target,
    log_prob_target,
)
from recursive_dla.cache import as_cache
from recursive_dla.ranking import PathWeights, _through_scores, rank_components

ANSWERS = [5, 17]
VALUES_ONLY = PathWeights(value=1.0, query=0.0, key=0.0)


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_log_probabilities_are_the_models_own_and_add_up(name: str) -> None:
    model, _, logits, cached = run(name, prompts=3)
    cache = as_cache(cached, model)
    target = log_prob_target(cache, ANSWERS, pos=[2, 6, 4])
    own = logits[torch.arange(3), torch.tensor([2, 6, 4])].log_softmax(-1)[:, ANSWERS]
    torch.testing.assert_close(target.value, own.to(target.value.dtype), rtol=1e-5, atol=1e-5)
    assert break_down(cache, model, target, check=False).completeness_error < 1e-5
    read = (target.direction @ cache["resid_post", -1][torch.arange(3), target.pos][..., None])[..., 0]
    torch.testing.assert_close(read + sum(target.constants.values()), target.value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TWO_MODELS)
def test_centred_logits_are_logits_less_their_mean(name: str) -> None:
    model, _, logits, cached = run(name)
    target = centred_logit_target(as_cache(cached, model), ANSWERS)
    last = logits[:, -1]
    torch.testing.assert_close(target.value, last[:, ANSWERS] - last.mean(-1, keepdim=True))
    assert target.labels == ("'w5' − mean", "'w17' − mean")


@pytest.mark.parametrize("layer", [0, 1, 2, None])
def test_a_direction_reads_the_stream_that_enters_its_layer(layer: int | None) -> None:
    model, _, _, cached = run("gpt2")
    cache = as_cache(cached, model)
    direction = torch.linspace(-1, 1, cache.weights.d_model, dtype=torch.float64)
    stream = cache["resid_post", -1] if layer is None else cache["resid_pre", layer]
    graph = attribution_graph(cache, model, direction_target(cache, direction, layer=layer, pos=4))
    assert graph.metadata.value == pytest.approx(float(stream[0, 4] @ direction))
    leaves = graph.nodes[graph.nodes["kind"].isin(["embed", "pos_embed", "bias"])]
    assert leaves["attribution"].sum() == pytest.approx(graph.metadata.value, rel=1e-10)
    written_by = graph.nodes["layer"][graph.nodes["kind"].isin(["head", "mlp"])]
    assert written_by.max() < (cache.weights.n_layers if layer is None else layer) or written_by.empty


def test_directions_that_do_not_fit_are_refused() -> None:
    model, _, _, cached = run("gpt2")
    cache = as_cache(cached, model)
    d_model = cache.weights.d_model
    for direction, layer, message in (
        (torch.ones(d_model + 1), None, r"must have shape \[10\]"),
        (torch.full((d_model,), torch.nan), None, "must be finite"),
        (torch.ones(d_model), 99, "from 0 to 3. Got 99"),
    ):
        with pytest.raises(InputError, match=message):
            direction_target(cache, direction, layer=layer)
    with pytest.raises(InputError, match="leave `wrong_answers` and `pos` out"):
        break_down(cache, model, direction_target(cache, torch.ones(d_model)), pos=3)


@pytest.mark.parametrize("name", ["gpt2", "llama-biased", "gpt-neox", "phi"])
def test_a_ranking_through_values_alone_is_the_graphs(name: str) -> None:
    model, _, _, cached = run(name)
    scores = rank_components(cached, model, 5, weights=VALUES_ONLY, check=False).set_index("id")["score"]
    nodes = attribution_graph(cached, model, 5, check=False).nodes.set_index("id")["attribution"]
    shared = scores.index.intersection(nodes.index)
    assert len(shared) > 10
    torch.testing.assert_close(torch.tensor(scores[shared].to_numpy()), torch.tensor(nodes[shared].to_numpy()))
    assert scores.is_monotonic_decreasing


@pytest.mark.parametrize("name", ["gpt2", "llama-biased"])
@pytest.mark.parametrize("path", ["query", "key"])
def test_credit_through_scores_is_the_derivative_of_the_heads(name: str, path: str) -> None:
    """Of a layer's heads with everything else frozen: perturbing what made queries, or keys, moves the answer by it."""
    model, _, _, cached = run(name)
    cache = as_cache(cached, model)
    last = cache.weights.n_layers - 1
    # As small as can be: Hugging Face computes the softmax in float32.
    attention, step = model.blocks[last].attn, 1e-3
    projection = getattr(attention, "q" if path == "query" else "k")
    # Only the top layer's queries or keys change, so its heads alone carry the difference.
    bump = torch.randn(projection.hook_out(cache["q" if path == "query" else "k", last]).shape, dtype=torch.float64)
    hook = f"blocks.{last}.attn.hook_{path[0]}"

    def heads_with(sign: float) -> torch.Tensor:
        def bumped(value: torch.Tensor, hook: object) -> torch.Tensor:
            return value + sign * step * bump

        z = {}
        with torch.no_grad():
            model.run_with_hooks(
                run(name).tokens,
                fwd_hooks=[(hook, bumped), (f"blocks.{last}.attn.hook_z", lambda value, hook: z.update(z=value))],
            )
        return z["z"]

    g = torch.randn(cache["resid_pre", 0].shape[1:], dtype=torch.float64)
    layer = cache.weights.layers[last].attention
    at_z = torch.einsum("qm,hdm->hqd", g, layer.W_O)
    directions = dict(
        zip(("query", "key"), _through_scores(cache, last, layer, cache["pattern", last][0], at_z), strict=True)
    )
    found = directions[path]
    if path == "key":
        found = found.unflatten(0, (len(layer.W_K), -1)).sum(1)
    moved = torch.einsum("hqd,qhd->", at_z, (heads_with(1) - heads_with(-1))[0]) / (2 * step)
    assert float((found * bump[0].permute(1, 0, 2)).sum()) == pytest.approx(float(moved), rel=1e-3)


def test_scores_that_cannot_be_followed_are_refused() -> None:
    model, _, _, cached = run("qwen3")
    with pytest.raises(UnsupportedModelError, match="not plain products of its queries and keys"):
        rank_components(cached, model, 5, check=False)
    assert len(rank_components(cached, tiny("qwen3"), 5, weights=VALUES_ONLY, check=False))
