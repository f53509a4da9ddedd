"""Breakdowns of heads and MLPs, against loops, identities and what is left when something is changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import (
    ATTENTION_ONLY,
    EVERY_MODEL,
    GATED,
    MODELS,
    POSITIONS,
    PROMPTS,
    TWO_MODELS,
    WITH_EXPERTS,
    WITH_MLP,
    available,
    boot,
    hugging_face,
    matrix,
    precision,
    random_tokens,
    run,
    run_on,
    tiny,
    uncapped,
)
from oracles import Frozen, assert_close, head_breakdown, logit_attributions, mlp_breakdown
from torch import Tensor

from recursive_dla import (
    ActivationCache,
    Breakdown,
    break_down,
    dla_attn_head_breakdown_source_component,
    dla_mlp_breakdown_source_component,
)
from recursive_dla.attribution.targets import direction_target
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.errors import InputError, UnsupportedModelError

ANSWER, WRONG = 5, 17
DESTINATIONS = ("heads", "mlps")
SOURCES = ("layers", "heads")
RULES = ("ratio", "frozen-gate", "integrated-gradients", "gradient", "stop")
# Every model with every rule it has; less for those that are much like another.
WITH_RULES = [
    (name, rule)
    for name in WITH_MLP
    for rule in (RULES if name in MODELS or name in WITH_EXPERTS else ("ratio", "gradient"))
    if rule != "frozen-gate" or name in GATED
]


def breakdown(name: str, dest: str, answers: Any = ANSWER, *, prompts: int = 1, **options: Any) -> Breakdown:
    model, _, _, cache = run(name, prompts=prompts)
    return break_down(cache, model, answers, dest, **options)


def assert_same_constants(found: dict[str, Tensor], expected: dict[str, Tensor], relative: float = 1e-10) -> None:
    """By name; a constant that one of the two does not have counts as zero."""
    names = sorted({*found, *expected})
    if names:
        zero = torch.zeros_like(next(iter([*found.values(), *expected.values()])))
        stacks = [torch.stack([given.get(name, zero) for name in names]) for given in (found, expected)]
        # Relative to one, for models whose constants are all zero.
        ours, theirs = (torch.cat([stack.flatten(), torch.ones(1)]) for stack in stacks)
        assert_close(ours, theirs, relative)


# --- against loops ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sources", SOURCES)
@pytest.mark.parametrize("name", matrix(EVERY_MODEL))
def test_heads_against_loops(name: str, sources: str) -> None:
    model, _, _, cache = run(name, prompts=PROMPTS)
    pos = [prompt % POSITIONS for prompt in range(PROMPTS)]
    found = breakdown(name, "heads", [ANSWER, 7], prompts=PROMPTS, wrong_answers=WRONG, pos=pos, sources=sources)
    for prompt in (0, 3, 6):
        frozen = Frozen(model, cache, prompt)
        for token, answer in enumerate((ANSWER, 7)):
            u = frozen.direction(answer, WRONG)
            values, constants = head_breakdown(frozen, u, pos[prompt], split_heads=sources == "heads")
            assert_close(found.values[token, prompt], values)
            assert_same_constants({key: each[token, prompt] for key, each in found.constants.items()}, constants)
            direct = logit_attributions(frozen, u, pos[prompt], split_heads=True)
            heads = [value for label, value in direct.items() if label.startswith("L")]
            assert_close(found.totals[token, prompt].flatten(), heads)


@pytest.mark.parametrize(("name", "rule"), matrix(WITH_RULES))
def test_mlps_against_loops(name: str, rule: str) -> None:
    model, _, _, cache = run(name, prompts=PROMPTS)
    pos = [prompt % POSITIONS for prompt in range(PROMPTS)]
    for sources in SOURCES:
        found = breakdown(
            name, "mlps", [ANSWER, 7], prompts=PROMPTS, wrong_answers=WRONG, pos=pos, sources=sources, rule=rule
        )
        frozen = Frozen(model, cache, 3, rule)
        for token, answer in enumerate((ANSWER, 7)):
            u = frozen.direction(answer, WRONG)
            values, constants = mlp_breakdown(frozen, u, pos[3], split_heads=sources == "heads")
            # Under `stop`, an MLP reads nothing.
            assert_close(found.values[token, 3] + 1, values + 1)
            assert_same_constants({key: each[token, 3] for key, each in found.constants.items()}, constants)
            direct = logit_attributions(frozen, u, pos[3])
            assert_close(found.totals[token, 3], [direct[f"{layer}_mlp_out"] for layer in range(frozen.n_layers)])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", matrix(MODELS))
def test_sources_and_constants_sum_to_the_totals(name: str, dtype: torch.dtype) -> None:
    model, _, _, cache = run(name, dtype, prompts=PROMPTS)
    for dest in ("heads",) if name in ATTENTION_ONLY else DESTINATIONS:
        for sources in SOURCES:
            found = break_down(cache, model, [ANSWER, 7], dest, wrong_answers=WRONG, sources=sources)
            axes = (4, 5) if dest == "heads" else (3,)
            explained = found.values.double().sum(axes) + sum(each.double() for each in found.constants.values())
            assert_close(explained, found.totals, precision(name, dtype))
            assert found.completeness_error <= precision(name, dtype)
            assert found.values.dtype == dtype


@pytest.mark.parametrize("name", matrix(EVERY_MODEL))
def test_heads_mlps_and_embeddings_sum_to_the_logit(name: str) -> None:
    model, _, logits, cache = run(name)
    frozen = Frozen(model, cache)
    direct = logit_attributions(frozen, frozen.direction(ANSWER), POSITIONS - 1, split_heads=True)
    rest = sum(value for label, value in direct.items() if label.endswith(("embed", "b_O")))
    heads = breakdown(name, "heads")
    total = rest + sum(heads.target.constants.values()) + heads.totals.sum()
    if name not in ATTENTION_ONLY:
        total = total + breakdown(name, "mlps").totals.sum()
    assert_close(total.reshape(1), uncapped(model, logits[:, -1, ANSWER]), precision(name))


def test_completeness_error_is_the_largest_gap() -> None:
    found = breakdown("gpt2", "heads")
    totals = found.totals.clone()
    totals[0, 0, 1, 1] += 0.5 * totals.abs().max()
    broken = Breakdown(found.values, found.axes, totals, found.constants, found.target)
    gap = (totals - found.totals).abs().max() / totals.abs().max()
    assert broken.completeness_error == pytest.approx(float(gap))


# --- the paths through gated MLPs, and neurons -----------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", available("llama-biased", "gemma2", "qwen2-moe"))
def test_the_paths_through_gated_mlps_are_what_their_slopes_carry(name: str, rule: str) -> None:
    paths = breakdown(name, "mlp-paths", wrong_answers=WRONG, rule=rule)
    whole = breakdown(name, "mlps", wrong_answers=WRONG, rule=rule)
    assert list(paths.axes) == ["token", "batch", "dest_l", "path", "src_comp"]
    assert paths.axes["path"] == ("gate", "up")
    assert_close(paths.values.sum(3) + 1, whole.values + 1)
    own = {name: each for name, each in whole.constants.items() if name not in ("b_out", "remainder")}
    assert_same_constants({name: each.sum(3) for name, each in paths.constants.items()}, own)
    explained = paths.values.sum(4) + sum(paths.constants.values())
    assert_close(explained + 1, paths.totals + 1)
    # A rule that gives one of the two nothing.
    assert paths.values[..., 0, :].any() == (rule not in ("frozen-gate", "stop"))
    assert paths.values[..., 1, :].any() == (rule != "stop")


@pytest.mark.parametrize("name", available("gpt2", "llama-biased", "gpt-j", "gemma2"))
@pytest.mark.parametrize("rule", ["ratio", "gradient"])
def test_all_neurons_together_are_their_mlps(name: str, rule: str) -> None:
    model = tiny(name)
    d_mlp, n_layers = model.blocks[0].mlp.W_in.shape[1], model.cfg.n_layers
    neurons = breakdown(name, "neurons", [ANSWER, 7], prompts=3, rule=rule, top_k=10**6)
    whole = breakdown(name, "mlps", [ANSWER, 7], prompts=3, rule=rule)
    assert neurons.axes["neuron"] == tuple(f"L{layer}N{neuron}" for layer in range(n_layers) for neuron in range(d_mlp))
    assert_close(neurons.values.unflatten(2, (n_layers, d_mlp)).sum(3), whole.values)
    summed = {name: each.unflatten(2, (n_layers, d_mlp)).sum(3) for name, each in neurons.constants.items()}
    assert_same_constants(summed, {name: each for name, each in whole.constants.items() if name != "b_out"})
    explained = neurons.values.sum(3) + sum(neurons.constants.values())
    assert_close(explained, neurons.totals)


@pytest.mark.parametrize("name", TWO_MODELS)
def test_the_strongest_neurons_are_those_of_the_whole(name: str) -> None:
    whole = breakdown(name, "neurons", [ANSWER, 7], prompts=3, top_k=10**6)
    few = breakdown(name, "neurons", [ANSWER, 7], prompts=3, top_k=5)
    strength = whole.totals.abs().amax((0, 1))
    chosen = sorted(strength.topk(5).indices.tolist())
    assert few.axes["neuron"] == tuple(whole.axes["neuron"][place] for place in chosen)
    assert_close(few.values, whole.values[:, :, chosen])
    assert_close(few.totals, whole.totals[:, :, chosen])
    # One neuron, by hand: its post-activation times what its row of W_out adds to the logit.
    model, _, _, cache = run(name, prompts=3)
    frozen = Frozen(model, cache, 2)
    layer, neuron = map(int, few.axes["neuron"][0][1:].split("N"))
    written = frozen.block(layer, "mlp.hook_post")[-1, neuron] * model.blocks[layer].mlp.W_out[neuron].detach()
    expected = frozen.to_logit(written, frozen.direction(7), POSITIONS - 1)
    assert_close(few.totals[1, 2, :1], [expected])


def test_what_a_model_does_not_have_cannot_be_broken_down() -> None:
    with pytest.raises(InputError, match="needs gated MLPs, and this model's are plain"):
        breakdown("gpt2", "mlp-paths")
    for name in available("mixtral"):
        with pytest.raises(UnsupportedModelError, match="experts"):
            breakdown(name, "neurons")
    with pytest.raises(InputError, match=r"`top_k` must be at least 1\. Got 0"):
        breakdown("gpt2", "neurons", top_k=0)
    for dest in ("mlps", "mlp-paths", "neurons"):
        with pytest.raises(InputError, match="only attention"):
            breakdown("native-attention-only", dest)


# --- other targets than logits, other precisions ---------------------------------------------------------------------


@pytest.mark.parametrize("dest", DESTINATIONS)
def test_a_direction_in_the_middle_of_the_model(dest: str) -> None:
    """Read from the stream before layer 2, so by loops without any final norm; later layers give nothing."""
    model, _, _, cache = run("gpt2")
    direction = torch.randn(10, dtype=torch.float64)
    target = direction_target(as_cache(cache, model), direction, layer=2, pos=4)
    found = break_down(cache, model, target, dest)
    frozen = Frozen(model, cache)
    outputs = [frozen.output(label)[4] for label in ("L1H1", "1_mlp_out")]
    last = found.totals[0, 0, 1, 1] if dest == "heads" else found.totals[0, 0, 1]
    assert_close(last[None], (outputs[dest == "mlps"] @ direction)[None])
    assert not found.totals[0, 0, 2].any()
    assert not found.values[0, 0, 2].any()
    assert found.completeness_error < 1e-10
    with pytest.raises(InputError, match="A Target already says what is explained and where"):
        break_down(cache, model, target, dest, pos=4)


def test_a_target_of_other_prompts_is_refused() -> None:
    model, _, _, cache = run("gpt2", prompts=3)
    target = direction_target(as_cache(cache, model), torch.randn(10, dtype=torch.float64))
    with pytest.raises(InputError, match="The Target is for 3 prompts and the cache holds 1"):
        break_down(run("gpt2").cache, model, target)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_half_precision_is_computed_with_in_float32(name: str, dtype: torch.dtype) -> None:
    """What is off is the model's own forward pass: from its cache, the same comes out in float64."""
    model, _, _, cache = run(name, dtype)
    wide = boot(hugging_face(name), name, dtype).to(torch.float64)
    widened = {key: each.double() if each.is_floating_point() else each for key, each in cache.items()}
    for dest in DESTINATIONS:
        found = break_down(cache, model, ANSWER, dest, wrong_answers=WRONG)
        assert found.values.dtype == found.totals.dtype == torch.float32
        assert found.completeness_error < (2e-2 if dtype == torch.bfloat16 else 3e-3)
        exact = break_down(widened, wide, ANSWER, dest, wrong_answers=WRONG, check=False)
        assert_close(found.values, exact.values, 1e-5)
        assert_close(found.totals, exact.totals, 1e-5)
        assert_same_constants(found.constants, exact.constants, 1e-5)


# --- axes ------------------------------------------------------------------------------------------------------------


def test_shapes_of_a_model_of_eight_layers_at_fifteen_tokens() -> None:
    model = tiny("gpt2-8-layers", torch.float32)
    cache = run_on(model, random_tokens(positions=15)).cache
    assert dla_attn_head_breakdown_source_component(cache, model, ANSWER).shape == (1, 1, 8, 16, 15, 18)
    assert dla_mlp_breakdown_source_component(cache, model, ANSWER).shape == (1, 1, 8, 18)


LAYER_LABELS = {
    "gpt2": ("embed", "pos_embed", *(f"{layer}_{part}_out" for layer in range(3) for part in ("attn", "mlp"))),
    "llama-biased": ("embed", *(f"{layer}_{part}_out" for layer in range(2) for part in ("attn", "mlp"))),
}
HEAD_LABELS = {
    "gpt2": ("embed", "pos_embed", *(f for l in range(3) for f in (f"L{l}H0", f"L{l}H1", f"{l}_b_O", f"{l}_mlp_out"))),
    "llama-biased": (
        "embed",
        *(f for l in range(2) for f in (*(f"L{l}H{head}" for head in range(6)), f"{l}_b_O", f"{l}_mlp_out")),
    ),
}


@pytest.mark.parametrize("name", TWO_MODELS)
def test_axes_name_and_label_the_values(name: str) -> None:
    for sources, labels in (("layers", LAYER_LABELS[name]), ("heads", HEAD_LABELS[name])):
        heads = breakdown(name, "heads", ["w5", "w7"], prompts=PROMPTS, wrong_answers=WRONG, sources=sources)
        assert list(heads.axes) == ["token", "batch", "dest_l", "dest_h", "src_pos", "src_comp"]
        assert heads.axes["token"] == ("'w5' − 'w17'", "'w7' − 'w17'")
        assert heads.axes["dest_l"][-1] == f"L{tiny(name).cfg.n_layers - 1}"
        assert heads.axes["dest_h"][:2] == ("H0", "H1")
        assert heads.axes["src_pos"] == tuple(map(str, range(POSITIONS)))
        assert heads.axes["src_comp"] == labels
        mlps = breakdown(name, "mlps", ["w5", "w7"], prompts=PROMPTS, wrong_answers=WRONG, sources=sources)
        assert list(mlps.axes) == ["token", "batch", "dest_l", "src_comp"]
        assert mlps.axes["src_comp"] == labels
        for found in (heads, mlps):
            assert tuple(map(len, found.axes.values())) == found.values.shape
            assert found.totals.shape == found.values.shape[: found.totals.ndim]
            assert all(constant.shape == found.totals.shape for constant in found.constants.values())


@pytest.mark.parametrize("dest", DESTINATIONS)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_what_is_written_later_and_what_is_not_attended_to_is_zero(name: str, dest: str) -> None:
    """And nothing else is."""
    values = breakdown(name, dest, pos=4).values[0, 0]
    embeddings = 2 if name == "gpt2" else 1
    for layer in range(len(values)):
        written = embeddings + 2 * layer + (dest == "mlps")
        assert not values[layer, ..., written:].any()
        if dest == "heads":
            assert not values[layer, :, 5:].any()
            assert values[layer, :, :5, :written].all()
        else:
            assert values[layer, :written].all()


def test_printed_it_names_the_strongest() -> None:
    found = breakdown("gpt2", "heads", ["w5", "w7"], prompts=2)
    lines = str(found).splitlines()
    assert lines[0].startswith("Breakdown [token=2 batch=2 dest_l=3 dest_h=2 src_pos=7 src_comp=8], completeness error")
    for prompt in range(2):
        for token, answer in enumerate(("w5", "w7")):
            logit = f"{found.target.value[prompt, token]:+.3f} logits"
            place = lines.index(f"prompt {prompt}, '{answer}': {logit}; strongest:")
            layer, head = divmod(int(found.totals[token, prompt].abs().argmax()), 2)
            total = f"{found.totals[token, prompt, layer, head]:+.3f},"
            assert lines[place + 1].split()[:2] == [f"L{layer}H{head}", total]
            values = found.values[token, prompt, layer, head]
            src_pos, src_comp = divmod(int(values.abs().argmax()), 8)
            source = f"of which {values[src_pos, src_comp]:+.3f} from {found.axes['src_comp'][src_comp]} at {src_pos}"
            assert lines[place + 1].endswith(source)


# --- how it changes with what goes in --------------------------------------------------------------------------------


@pytest.mark.parametrize("dest", DESTINATIONS)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_it_is_linear_in_the_answer(name: str, dest: str) -> None:
    right, wrong, difference = (
        breakdown(name, dest, ANSWER),
        breakdown(name, dest, WRONG),
        breakdown(name, dest, ANSWER, wrong_answers=WRONG),
    )
    assert_close(difference.values, right.values - wrong.values)
    assert_close(difference.totals, right.totals - wrong.totals)
    assert_same_constants(
        difference.constants, {name: right.constants[name] - wrong.constants[name] for name in right.constants}
    )


@pytest.mark.parametrize("dest", DESTINATIONS)
def test_prompts_and_answers_do_not_mix(dest: str) -> None:
    together = breakdown("llama-biased", dest, [ANSWER, WRONG, 7], prompts=PROMPTS)
    model, tokens, *_ = run("llama-biased", prompts=PROMPTS)
    for prompt in (0, 4):
        alone = run_on(model, tokens[prompt : prompt + 1])
        for token, answer in enumerate((ANSWER, WRONG, 7)):
            expected = break_down(alone.cache, model, answer, dest).values
            assert_close(together.values[token, prompt], expected[0, 0])


@pytest.mark.parametrize("dest", DESTINATIONS)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_prompts_padded_on_the_right_with_their_positions(name: str, dest: str) -> None:
    lengths = [7, 3, 5]
    tokens = random_tokens(len(lengths))
    for row, length in enumerate(lengths):
        tokens[row, length:] = 0
    padded = run_on(tiny(name), tokens)
    found = break_down(padded.cache, tiny(name), ANSWER, dest, pos=[length - 1 for length in lengths]).values
    for row, length in enumerate(lengths):
        alone = run_on(tiny(name), tokens[row : row + 1, :length])
        expected = break_down(alone.cache, tiny(name), ANSWER, dest).values[0, 0]
        if dest == "heads":
            assert_close(found[0, row, :, :, :length], expected)
            assert not found[0, row, :, :, length:].any()
        else:
            assert_close(found[0, row], expected)


@pytest.mark.parametrize("dest", DESTINATIONS)
def test_prompts_padded_on_the_left_with_a_mask(dest: str) -> None:
    tokens = random_tokens(3, positions=5)
    padded = torch.cat([torch.zeros(3, 2, dtype=torch.long), tokens], dim=1)
    mask = (torch.arange(7) >= 2).long().expand(3, 7)
    model = tiny("gpt2")
    found = break_down(run_on(model, padded, attention_mask=mask).cache, model, ANSWER, dest).values
    expected = break_down(run_on(model, tokens).cache, model, ANSWER, dest).values
    if dest == "heads":
        assert not found[..., :2, :].any()
        found = found[..., 2:, :]
    assert_close(found, expected)


def permuted_heads(name: str, order: list[int]) -> Any:
    """The model with the heads of layer 1 in another order."""
    hf = hugging_face(name)
    with torch.no_grad():
        if name == "gpt2":
            attention = hf.transformer.h[1].attn
            in_heads = attention.c_attn.weight.unflatten(1, (3, 2, 5))
            attention.c_attn.weight.copy_(in_heads[:, :, order].flatten(1))
            attention.c_attn.bias.copy_(attention.c_attn.bias.unflatten(0, (3, 2, 5))[:, order].flatten())
            attention.c_proj.weight.copy_(attention.c_proj.weight.unflatten(0, (2, 5))[order].flatten(0, 1))
        else:
            attention = hf.model.layers[1].self_attn
            groups = [head // 2 for head in order[::2]]
            for projection, rows in ((attention.q_proj, order), (attention.k_proj, groups), (attention.v_proj, groups)):
                for parameter in (projection.weight, projection.bias):
                    parameter.copy_(parameter.unflatten(0, (-1, 4))[rows].flatten(0, 1))
            attention.o_proj.weight.copy_(attention.o_proj.weight.unflatten(1, (-1, 4))[:, order].flatten(1))
    return boot(hf, name)


@pytest.mark.parametrize(("name", "order"), [("gpt2", [1, 0]), ("llama-biased", [3, 2, 4, 5, 1, 0])])
def test_heads_in_another_order_give_the_same_numbers_in_that_order(name: str, order: list[int]) -> None:
    """Heads of one group stay together, their groups and they themselves change places."""
    model = permuted_heads(name, order)
    permuted = run_on(model, random_tokens())
    assert_close(permuted.logits, run(name).logits)
    heads = break_down(permuted.cache, model, ANSWER, "heads", sources="heads")
    labels = list(heads.axes["src_comp"])
    expected = breakdown(name, "heads", sources="heads").values.clone()
    expected[:, :, 1] = expected[:, :, 1, order]
    sources = list(range(len(labels)))
    for place, head in enumerate(order):
        sources[labels.index(f"L1H{place}")] = labels.index(f"L1H{head}")
    assert_close(heads.values, expected[..., sources])
    mlps = break_down(permuted.cache, model, ANSWER, "mlps", sources="heads").values
    assert_close(mlps, breakdown(name, "mlps", sources="heads").values[..., sources])


@pytest.mark.parametrize("dest", DESTINATIONS)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_every_kind_of_cache_gives_the_same(name: str, dest: str) -> None:
    model, tokens, _, theirs = run(name)
    expected = break_down(theirs, model, ANSWER, dest).values
    without_batch = run_on(model, tokens, remove_batch_dim=True).cache
    for cache in (
        ActivationCache(theirs.cache_dict, model),
        dict(theirs.cache_dict),
        without_batch,
        ActivationCache(without_batch.cache_dict, model, has_batch_dim=False),
    ):
        assert torch.equal(break_down(cache, model, ANSWER, dest).values, expected)


def test_the_two_functions_are_break_down() -> None:
    model, _, _, cache = run("gpt2", prompts=PROMPTS)
    options: dict[str, Any] = {"wrong_answers": WRONG, "pos": 3}
    heads = dla_attn_head_breakdown_source_component(cache, model, [ANSWER, 7], **options)
    assert torch.equal(heads, break_down(cache, model, [ANSWER, 7], "heads", **options).values)
    mlps = dla_mlp_breakdown_source_component(cache, model, [ANSWER, 7], **options)
    assert torch.equal(mlps, break_down(cache, model, [ANSWER, 7], "mlps", **options).values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dest": "attention"}, "`dest` must be one of 'heads', 'mlps'.*Got 'attention'"),
        ({"sources": "neurons"}, "`sources` must be one of 'layers', 'heads'. Got 'neurons'"),
        ({"dest": "mlps", "rule": "lrp"}, "Unknown rule 'lrp'"),
        ({"dest": "mlps", "rule": "frozen-gate"}, "'frozen-gate' needs a gated MLP"),
    ],
)
def test_unknown_choices_list_the_known(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        breakdown("gpt2", **{"dest": "heads", **options})


def test_attention_only_models_have_no_mlps() -> None:
    with pytest.raises(InputError, match="only attention, so there are no MLPs"):
        breakdown("native-attention-only", "mlps")
