"""Targets other than logits, against the model's own numbers."""

from __future__ import annotations

import pytest
import torch
from models import FEW, TWO_MODELS, run

from recursive_dla import (
    InputError,
    attribution_graph,
    break_down,
    centred_logit_target,
    direction_target,
    log_prob_target,
)
from recursive_dla.cache.activation_cache import as_cache

ANSWERS = [5, 17]


@pytest.mark.parametrize("name", FEW)
def test_log_probabilities_are_the_models_own_and_add_up(name: str) -> None:
    model, _, logits, cached = run(name, prompts=3)
    cache = as_cache(cached, model)
    target = log_prob_target(cache, ANSWERS, pos=[2, 6, 4])
    own = logits[torch.arange(3), torch.tensor([2, 6, 4])].log_softmax(-1)[:, ANSWERS]
    torch.testing.assert_close(target.value, own.to(target.value.dtype), rtol=1e-5, atol=1e-5)
    assert break_down(cache, model, target, check=False).completeness_error < 1e-5
    read = (target.direction @ cache["resid_post", -1][torch.arange(3), target.pos][..., None])[..., 0]
    torch.testing.assert_close(read + sum(target.constants.values()), target.value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FEW)
def test_a_graph_knows_the_answer_and_its_probability(name: str) -> None:
    model, _, logits, cached = run(name)
    target = attribution_graph(cached, model, 5, wrong_answers=17, pos=3, check=False).metadata.target
    assert (target.answer_id, target.wrong_answer_id) == (5, 17)
    assert target.probability == pytest.approx(float(logits[0, 3].softmax(-1)[5]), rel=1e-4)
    direction = direction_target(as_cache(cached, model), torch.ones(model.cfg.d_model))
    target = attribution_graph(cached, model, direction, check=False).metadata.target
    assert (target.answer_id, target.wrong_answer_id, target.probability) == (None, None, None)


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
    assert set(written_by) == set(range(cache.weights.n_layers if layer is None else layer))


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
