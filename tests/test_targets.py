"""Targets: which logits are explained, in every form that answers and positions are written in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import (
    EVERY_MODEL,
    POSITIONS,
    PROMPTS,
    TWO_MODELS,
    available,
    boot,
    demo_run,
    hugging_face,
    random_tokens,
    run,
    run_on,
    tiny,
    uncapped,
)
from oracles import Frozen, assert_close

from recursive_dla.attribution.targets import (
    Target,
    answer_probabilities,
    centred_logit_target,
    direction_target,
    log_prob_target,
    logit_target,
    resolve_positions,
)
from recursive_dla.cache.activation_cache import ActivationCache, as_cache
from recursive_dla.cache.hook_names import LOGITS
from recursive_dla.errors import InputError

PER_PROMPT = [[2 + prompt, 19 + prompt, 31 + prompt] for prompt in range(PROMPTS)]
THREE = [5, 17, 29]


def target(name: str, answers: Any, prompts: int = PROMPTS, **options: Any) -> Target:
    model, _, _, cache = run(name, prompts=prompts)
    return logit_target(as_cache(cache, model), answers, **options)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("w5", [[5]] * PROMPTS),
        (5, [[5]] * PROMPTS),
        (["w5", "w17", "w29"], [THREE] * PROMPTS),
        (["w5", 17, "w29"], [THREE] * PROMPTS),
        ((5, 17, 29), [THREE] * PROMPTS),
        (torch.tensor(5), [[5]] * PROMPTS),
        (torch.tensor(THREE), [THREE] * PROMPTS),
        (torch.tensor(THREE, dtype=torch.int32), [THREE] * PROMPTS),
        (PER_PROMPT, PER_PROMPT),
        ([tuple(f"w{answer}" for answer in row) for row in PER_PROMPT], PER_PROMPT),
        (torch.tensor(PER_PROMPT), PER_PROMPT),
        # As many answers as prompts: a list is one for every prompt, a column is one for each.
        (list(range(PROMPTS)), [list(range(PROMPTS))] * PROMPTS),
        (torch.arange(PROMPTS)[:, None], [[prompt] for prompt in range(PROMPTS)]),
    ],
    ids=str,
)
def test_answers_in_every_form(answers: Any, expected: list[list[int]]) -> None:
    found = target("gpt2", answers)
    assert found.answers.tolist() == expected
    assert found.wrong_answers is None
    logits = run("gpt2", prompts=PROMPTS).logits[:, -1]
    assert_close(found.value, logits.gather(1, torch.tensor(expected)))


@pytest.mark.parametrize(
    ("answers", "wrong", "expected"),
    [
        ("w5", "w17", [[17]] * PROMPTS),
        (THREE, 7, [[7, 7, 7]] * PROMPTS),
        (THREE, [7, 11, 13], [[7, 11, 13]] * PROMPTS),
        (PER_PROMPT, torch.tensor(THREE), [THREE] * PROMPTS),
        (THREE, PER_PROMPT, PER_PROMPT),
        (PER_PROMPT, torch.arange(PROMPTS)[:, None], [[prompt] * 3 for prompt in range(PROMPTS)]),
    ],
    ids=str,
)
def test_wrong_answers_are_subtracted(answers: Any, wrong: Any, expected: list[list[int]]) -> None:
    found = target("gpt2", answers, wrong_answers=wrong)
    assert found.wrong_answers.tolist() == expected
    logits = run("gpt2", prompts=PROMPTS).logits[:, -1]
    assert_close(found.value, logits.gather(1, found.answers) - logits.gather(1, torch.tensor(expected)))


@pytest.mark.parametrize(
    ("pos", "expected"),
    [
        (None, [6] * PROMPTS),
        (2, [2] * PROMPTS),
        (-3, [4] * PROMPTS),
        (torch.tensor(0), [0] * PROMPTS),
        ([place % POSITIONS for place in range(PROMPTS)], [place % POSITIONS for place in range(PROMPTS)]),
        (torch.tensor([-1, *range(6), *range(4)]), [6, *range(6), *range(4)]),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_positions_in_every_form(name: str, pos: Any, expected: list[int]) -> None:
    found = target(name, THREE, pos=pos)
    assert found.pos.tolist() == expected
    assert_close(found.value, run(name, prompts=PROMPTS).logits[range(PROMPTS), expected][:, THREE])


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_direction_and_constants_give_the_logit(name: str) -> None:
    found = target(name, THREE, wrong_answers=7, pos=4)
    model, _, logits, cache = run(name, prompts=PROMPTS)
    assert_exact(found, cache)
    logits = uncapped(model, logits[:, 4])
    assert_close(found.value, logits[:, THREE] - logits[:, 7:8], 1e-9)


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("gpt2", {"ln_final.b"}),
        ("llama", set()),
        ("llama-biased", set()),
        ("gpt2-compatible", {"b_U"}),
        ("gpt-j", {"ln_final.b", "b_U"}),
    ],
)
def test_constants_are_those_that_the_model_has(name: str, constants: set[str]) -> None:
    assert set(target(name, 5).constants) == constants
    # What every answer shares cancels.
    assert set(target(name, 5, wrong_answers=17).constants) == constants


@pytest.mark.parametrize(
    ("answers", "wrong", "labels"),
    [
        ("w5", None, ("'w5'",)),
        (5, "w17", ("'w5' − 'w17'",)),
        (THREE, 7, ("'w5' − 'w7'", "'w17' − 'w7'", "'w29' − 'w7'")),
        ([[5, 2 + prompt] for prompt in range(PROMPTS)], None, ("'w5'", "answer 1")),
        (5, torch.arange(PROMPTS)[:, None], ("answer 0",)),
    ],
    ids=str,
)
def test_labels(answers: Any, wrong: Any, labels: tuple[str, ...]) -> None:
    assert target("gpt2", answers, wrong_answers=wrong).labels == labels


def test_prompts_padded_on_the_right_with_their_positions() -> None:
    lengths = [7, 3, 5, 2]
    tokens = random_tokens(len(lengths))
    for row, length in enumerate(lengths):
        tokens[row, length:] = 0
    model = tiny("gpt2")
    padded = run_on(model, tokens)
    found = logit_target(as_cache(padded.cache, model), THREE, pos=[length - 1 for length in lengths])
    for row, length in enumerate(lengths):
        alone = run_on(model, tokens[row : row + 1, :length]).logits[0, -1, THREE]
        assert_close(found.value[row], alone)


@pytest.mark.parametrize(
    ("answers", "options", "message"),
    [
        ("w1 w2", {}, r"The answer 'w1 w2' must be one token\. It is 2: \['w1', 'w2'\]"),
        (["w5", "w1 w2 w3"], {}, r"It is 3: \['w1', 'w2', 'w3'\]"),
        ("", {}, r"The answer '' must be one token\. It is 0: \[\]"),
        (53, {}, "A token id must be from 0 to 52. Got 53"),
        (-1, {}, "A token id must be from 0 to 52. Got -1"),
        (5, {"wrong_answers": [53]}, "A token id must be from 0 to 52. Got 53"),
        (5, {"wrong_answers": [1, 52]}, r"`wrong_answers` must hold one answer, or as many as `answers` \(1\)\. Got 2"),
        ([], {}, r"`answers` must hold at least one answer, .* Got \[\]"),
        ([[]] * PROMPTS, {}, "`answers` must hold at least one answer"),
        ([[1, 2], [3]], {}, "as many for each prompt"),
        (5, {"wrong_answers": []}, "`wrong_answers` must hold at least one answer"),
        (torch.tensor([[1], [2]]), {}, rf"one row for each of {PROMPTS} prompts. Got 2"),
        (torch.tensor([0.5]), {}, r"as a tensor must hold token ids, .* Got torch.float32 of shape \(1,\)"),
        (torch.tensor([True]), {}, "must hold token ids"),
        (torch.zeros(1, 1, 1, dtype=torch.long), {}, r"Got torch.int64 of shape \(1, 1, 1\)"),
        (THREE, {"wrong_answers": [1, 2]}, r"must hold one answer, or as many as `answers` \(3\)\. Got 2"),
        (5, {"pos": 7}, r"`pos` must be from 0 to 6 \(or negative, from the end\)\. Got 7"),
        (5, {"pos": -8}, "`pos` must be from 0 to 6"),
        (5, {"pos": [0, 7] + [0] * 9}, "`pos` must be from 0 to 6"),
        (5, {"pos": [1, 2]}, rf"`pos` must be an integer, or one for each of the {PROMPTS} prompts. Got \[1, 2\]"),
        (5, {"pos": []}, "`pos` must be an integer"),
        (5, {"pos": 1.0}, "`pos` must be an integer"),
        (5, {"pos": True}, "`pos` must be an integer"),
        (5, {"pos": torch.zeros(PROMPTS, 1, dtype=torch.long)}, "`pos` must be an integer"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(
    types_unchecked: None, answers: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        target("gpt2", answers, **options)


# --- other numbers than logits ---------------------------------------------------------------------------------------

ALL_LOGITS = available("gpt2", "gpt2-compatible", "llama-biased", "gemma2", "native-no-norms")


def assert_exact(found: Target, cache: Any) -> None:
    """``value = direction · stream + Σ constants``."""
    n_layers = sum(name.endswith("hook_resid_post") for name in cache)
    stream = cache["resid_post", -1] if found.layer == n_layers else cache["resid_pre", found.layer]
    read = torch.stack([found.direction[prompt] @ stream[prompt, pos] for prompt, pos in enumerate(found.pos)])
    assert_close(read + sum(found.constants.values()), found.value)


@pytest.mark.parametrize("name", ALL_LOGITS)
def test_log_probabilities(name: str) -> None:
    model, _, logits, cache = run(name, prompts=PROMPTS)
    found = log_prob_target(as_cache(cache, model), THREE, pos=4)
    assert_close(found.value, logits[:, 4].log_softmax(-1)[:, THREE], 1e-9)
    assert_exact(found, cache)
    # To first order, the stream moves the log-probability as the direction says.
    frozen, step = Frozen(model, cache, 3), 1e-6 * torch.randn(model.W_U.shape[0]).double()
    stream, norm = cache["resid_post", -1][3, 4], frozen.model.norm
    moved = []
    for sign in (-1, 1):
        read = norm.linear(stream + sign * step, frozen.scale[4]) + norm.b
        stepped = read @ frozen.model.W_U + frozen.model.b_U
        cap = model.cfg.output_logits_soft_cap
        moved.append((cap * torch.tanh(stepped / cap) if cap > 0 else stepped).log_softmax(-1)[THREE])
    assert_close(found.direction[3] @ step, (moved[1] - moved[0]) / 2, 1e-5)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", ALL_LOGITS)
def test_probabilities_of_answers_are_the_model_s(name: str, cached: bool) -> None:
    model, _, logits, own = run(name, prompts=PROMPTS)
    cache = as_cache(own, model)
    if not cached:
        kept = {key: tensor for key, tensor in cache.cache_dict.items() if key not in LOGITS}
        cache = ActivationCache(kept, model)
    target = logit_target(cache, THREE, pos=4)
    assert_close(answer_probabilities(cache, target), logits[:, 4].softmax(-1)[:, THREE[0]], 1e-9)


@pytest.mark.parametrize("name", ALL_LOGITS)
def test_logits_less_their_mean(name: str) -> None:
    model, _, logits, cache = run(name, prompts=PROMPTS)
    found = centred_logit_target(as_cache(cache, model), THREE, pos=4)
    logits = uncapped(model, logits[:, 4])
    assert_close(found.value, logits[:, THREE] - logits.mean(-1, keepdim=True))
    assert_exact(found, cache)


@pytest.mark.parametrize("layer", [0, 1, None])
@pytest.mark.parametrize("name", TWO_MODELS)
def test_directions_of_ones_own(name: str, layer: int | None) -> None:
    model, _, _, cache = run(name, prompts=PROMPTS)
    directions = torch.randn(3, model.W_U.shape[0], dtype=torch.float64)
    pos = [prompt % POSITIONS for prompt in range(PROMPTS)]
    found = direction_target(as_cache(cache, model), directions, layer=layer, pos=pos)
    stream = cache["resid_post", -1] if layer is None else cache["resid_pre", layer]
    assert_close(found.value, stream[range(PROMPTS), pos] @ directions.T)
    assert_exact(found, cache)
    assert found.labels == ("direction 0", "direction 1", "direction 2")
    one = direction_target(as_cache(cache, model), directions[1], layer=layer, pos=pos, labels=["mine"])
    assert_close(one.value[:, 0], found.value[:, 1])
    assert one.labels == ("mine",)
    assert one.answers is None


@pytest.mark.parametrize(
    ("direction", "options", "message"),
    [
        (torch.zeros(9), {}, r"must have shape \[10\] or \[token, 10\]. Got \[9\]"),
        (torch.zeros(2, 3, 10), {}, r"Got \[2, 3, 10\]"),
        (torch.full((10,), float("nan")), {}, "must be finite"),
        (torch.zeros(10), {"layer": 4}, "`layer` must be from 0 to 3. Got 4"),
        (torch.zeros(10), {"layer": -1}, "`layer` must be from 0 to 3. Got -1"),
        (torch.zeros(10), {"pos": 7}, "`pos` must be from 0 to 6"),
        (torch.zeros(2, 10), {"labels": ["one"]}, "`labels` must name each of the 2 directions. Got 1"),
    ],
)
def test_a_direction_that_does_not_fit_is_refused(
    types_unchecked: None, direction: torch.Tensor, options: dict[str, Any], message: str
) -> None:
    model, _, _, cache = run("gpt2")
    with pytest.raises(InputError, match=message):
        direction_target(as_cache(cache, model), direction, **options)


def test_positions_alone() -> None:
    assert resolve_positions(None, 3, 7).tolist() == [6, 6, 6]
    assert resolve_positions([-1, 0, -7], 3, 7).tolist() == [6, 0, 0]


# --- padding ---------------------------------------------------------------------------------------------------------

LENGTHS = [7, 3, 5, 2]
RAGGED = random_tokens(4)
# Of the tiny models, whose tokenizer pads with the token that begins and ends texts.
SHARED_PAD = 0


def padded(*, side: str = "right", ends: int | None = None) -> torch.Tensor:
    """Prompts of :data:`LENGTHS`, each with ``ends`` as its last token, padded on one side."""
    tokens = torch.full((4, POSITIONS), SHARED_PAD)
    for row, length in enumerate(LENGTHS):
        place = slice(POSITIONS - length, None) if side == "left" else slice(0, length)
        tokens[row, place] = RAGGED[row, :length]
        if ends is not None:
            tokens[row, -1 if side == "left" else length - 1] = ends
    return tokens


def explained_by_default(tokens: torch.Tensor, model: Any = None) -> list[Target]:
    """All kinds of targets, each without a position."""
    model = tiny("gpt2") if model is None else model
    cache = as_cache(run_on(model, tokens).cache, model)
    return [
        logit_target(cache, 5),
        centred_logit_target(cache, 5),
        log_prob_target(cache, 5),
        direction_target(cache, torch.ones(model.cfg.d_model, dtype=torch.float64)),
    ]


@pytest.mark.parametrize("kind", [logit_target, centred_logit_target, log_prob_target, direction_target])
@pytest.mark.parametrize("ids_cached", [True, False])
def test_padding_is_not_explained_by_default(kind: Any, ids_cached: bool) -> None:
    model = tiny("gpt2")
    kept = dict(run_on(model, padded()).cache.items())
    if not ids_cached:
        kept.pop("embed.hook_in", None)
    cache = ActivationCache(kept, model)
    what = torch.ones(10, dtype=torch.float64) if kind is direction_target else 5
    message = r"end in padding, '<bos>' \(counted from 0: 1, 2, 3\).*`pos=\[6, 2, 4, 1\]`.*`pos=-1`"
    with pytest.raises(InputError, match=message):
        kind(cache, what)
    # What the message says is what there is to say.
    right = kind(cache, what, pos=[6, 2, 4, 1])
    for row, length in enumerate(LENGTHS):
        alone = run_on(model, padded()[row : row + 1, :length]).cache
        assert_close(right.value[row : row + 1], kind(as_cache(alone, model), what).value)
    assert kind(cache, what, pos=-1).pos.tolist() == [6] * 4


@pytest.mark.parametrize(
    ("tokens", "pos"),
    [
        # The longest prompt and all others end in the token: it ends a text, and the rest is padding.
        (padded(ends=SHARED_PAD), [6, 2, 4, 1]),
        # Padded beyond the longest.
        (torch.nn.functional.pad(padded(), (0, 2)), [6, 2, 4, 1]),
        (torch.nn.functional.pad(random_tokens(3), (0, 2)), [6, 6, 6]),
        # Nothing but padding.
        (torch.stack([RAGGED[0], torch.zeros_like(RAGGED[0])]), [6, 0]),
    ],
)
def test_the_position_before_the_padding_is_named(tokens: torch.Tensor, pos: list[int]) -> None:
    with pytest.raises(InputError, match=rf"`pos=\[{', '.join(map(str, pos))}\]`"):
        explained_by_default(tokens)


@pytest.mark.parametrize(
    "tokens",
    [
        random_tokens(4),
        padded(side="left"),
        # Each ends a text, as a chat may, whatever stands before it.
        padded(side="left", ends=SHARED_PAD),
        torch.nn.functional.pad(random_tokens(4), (0, 1)),
        # One prompt, whatever it ends in.
        padded()[3:],
    ],
)
def test_what_is_no_padding_is_explained(tokens: torch.Tensor) -> None:
    for found in explained_by_default(tokens):
        assert found.pos.tolist() == [tokens.shape[1] - 1] * len(tokens)


def test_one_of_several_prompts_padded_on_the_left_ends_a_text() -> None:
    tokens = padded(side="left")
    tokens[2, -1] = SHARED_PAD
    for found in explained_by_default(tokens):
        assert found.pos.tolist() == [6] * 4


def test_a_token_that_only_pads_is_padding_wherever_it_ends_prompts() -> None:
    model = boot(hugging_face("gpt2"), "gpt2")
    model.tokenizer.pad_token = "w52"
    tokens = random_tokens(3)
    tokens[:, -1] = 52
    with pytest.raises(InputError, match=r"'w52' \(counted from 0: 0, 1, 2\).*`pos=\[5, 5, 5\]`"):
        explained_by_default(tokens, model)
    tokens[:, -1] = SHARED_PAD
    tokens[0, -2] = SHARED_PAD
    assert explained_by_default(tokens, model)[0].pos.tolist() == [6] * 3


def test_without_a_tokenizer_nothing_is_known_of_padding() -> None:
    model = tiny("native-attention-only")
    assert explained_by_default(padded(), model)[0].pos.tolist() == [6] * 4


@pytest.mark.demo
def test_a_ragged_list_of_prompts_is_explained_where_each_ends() -> None:
    model = demo_run().model
    prompts = ["The Eiffel Tower is in the city of", "The capital of France is the beautiful old city of"]
    cache = as_cache(run_on(model, prompts).cache, model)
    with pytest.raises(InputError, match=r"end in padding, '<\|im_end\|>' .*`pos=\[9, 10\]`"):
        logit_target(cache, " Paris")
    found = logit_target(cache, " Paris", pos=[9, 10])
    for row, prompt in enumerate(prompts):
        alone = run_on(model, prompt).logits[0, -1, model.to_single_token(" Paris")]
        assert_close(found.value[row, 0], alone, 1e-4)
