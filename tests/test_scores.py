"""Attention scores by pairs of components: against loops of their own, and against the model's scores and patterns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from models import (
    EVERY_MODEL,
    POSITIONS,
    TWO_MODELS,
    matrix,
    random_tokens,
    run,
    run_on,
    tiny,
)
from oracles import Frozen, assert_close
from torch import Tensor

from recursive_dla import (
    CacheError,
    InputError,
    ScoreBreakdown,
    UnsupportedModelError,
    attention_score_breakdown,
    run_with_lean_cache,
)

PROMPTS, ANSWERED = 3, [6, 2, 4]
# How many dimensions of a head are rotated, where not all are; and with what base, where it is not 10,000.
ROTATED = {"gpt-neox": 2, "gpt-neox-sequential": 2, "phi": 4, "gpt-j": 4, "stablelm": 4}
BASES = {"mixtral": 1_000_000, "olmo3": 500_000}
PATTERNS_FOR_SCORES = ("gpt-j", "gpt-neo", "native-attention-only", "native-no-norms", "opt")
ROTARY = (
    *(
        "falcon",
        "gemma",
        "gpt-j",
        "gpt-neox",
        "llama",
        "mistral",
        "mixtral",
        "olmo",
        "phi",
        "qwen",
        "smollm3",
        "stablelm",
    ),
    *("starcoder2", "hooked-RMS"),
)


def breakdown(name: str, layer: int = 1, head: int = 1, **options: Any) -> ScoreBreakdown:
    model, _, _, cache = run(name, prompts=PROMPTS)
    return attention_score_breakdown(cache, model, layer, head, **{"pos": ANSWERED, **options})


# --- one score by loops ----------------------------------------------------------------------------------------------


def turned(name: str, layer: int, x: Tensor, pos: int) -> Tensor:
    """A query or key turned pair by pair, with angles straight from the formula."""
    # SmolLM3's second layer has no positions.
    if not name.startswith(ROTARY) or name == "hooked-RMSPre" or (name == "smollm3" and layer == 1):
        return x
    size = ROTATED.get(name, len(x))
    base = BASES.get(name, 10_000)
    x = x.clone()
    for pair in range(size // 2):
        i, j = (2 * pair, 2 * pair + 1) if name == "gpt-j" else (pair, pair + size // 2)
        angle = pos * base ** (-2 * pair / size)
        first, second = float(x[i]), float(x[j])
        x[i] = first * math.cos(angle) - second * math.sin(angle)
        x[j] = first * math.sin(angle) + second * math.cos(angle)
    return x


def side(name: str, model: Any, frozen: Frozen, layer: int, head: int, pos: int, which: str) -> dict[str, Tensor]:
    """The parts of a query (``q``) or key at a position, by component; biases are components too."""
    attn = model.blocks[layer].attn
    letter = which.upper()
    weights = getattr(attn, f"_W_{letter}", None)
    weights = (getattr(attn, f"W_{letter}") if weights is None else weights).detach().double()
    bias = getattr(attn, f"_b_{letter}", None)
    bias = getattr(attn, f"b_{letter}") if bias is None else bias
    shared = head * len(weights) // frozen.n_heads
    norm = frozen.model.layers[layer].norm
    labels = frozen.before(frozen.components(split_heads=False), f"L{layer}H{head}")
    read = {label: norm.linear(frozen.output(label)[pos], frozen.scale1[layer][pos]) for label in labels}
    if not norm.absent and norm.b.any():
        read["ln1.b"] = norm.b
    heads = {label: torch.stack([x @ weight for weight in weights]) for label, x in read.items()}
    if bias is not None and bias.any():
        heads[f"b_{letter}"] = bias.detach().double()
    if (head_norm := getattr(attn, f"{which}_norm", None)) is not None:
        whole = sum(heads.values())
        weight = head_norm.w.detach().double() + ("gemma" in name)
        joint = weight.numel() > whole.shape[1]
        mean = whole.pow(2).mean() if joint else whole.pow(2).mean(-1, keepdim=True)
        scale = (mean + float(model.cfg.eps)).sqrt()
        weight = weight.view(whole.shape) if joint else weight
        heads = {label: weight * x / scale for label, x in heads.items()}
    return {label: turned(name, layer, x[shared], pos) for label, x in heads.items()}


def factor(name: str, d_head: int) -> float:
    if name == "gpt-neo":
        return 1.0
    # What Gemma 2 and 3 divide by is in their configs, and by default not the size of a head.
    return 256**-0.5 if name in ("gemma2", "gemma3") else d_head**-0.5


def slope(name: str, head: int) -> float:
    """ALiBi's, of three heads: those of two, and then the first of four."""
    return [2**-4, 2**-8, 2**-2][head] if name == "bloom" else 0.0


@pytest.mark.parametrize("name", matrix(EVERY_MODEL))
def test_scores_against_loops(name: str) -> None:
    model, _, _, cache = run(name, prompts=PROMPTS)
    prompt, layer = 2, 1
    for head in (0, model.cfg.n_heads - 1):
        found = breakdown(name, layer, head)
        frozen = Frozen(model, cache, prompt)
        query = side(name, model, frozen, layer, head, ANSWERED[prompt], "q")
        assert found.axes["query_comp"] == tuple(query)
        values = torch.zeros_like(found.values[prompt], dtype=torch.float64)
        for key in range(ANSWERED[prompt] + 1):
            keys = side(name, model, frozen, layer, head, key, "k")
            assert found.axes["key_comp"] == tuple(keys)
            for i, a in enumerate(query.values()):
                for j, b in enumerate(keys.values()):
                    values[key, i, j] = factor(name, len(a)) * float(a @ b)
        assert_close(found.values[prompt], values, 1e-6)
        alibi = [slope(name, head) * key for key in range(ANSWERED[prompt] + 1)]
        assert any(alibi) == (name == "bloom")
        if any(alibi):
            assert_close(found.constants["alibi"][prompt, : len(alibi)], alibi, 1e-6)
        else:
            assert found.constants == {}


# --- against the model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", matrix(EVERY_MODEL))
def test_pairs_sum_to_the_models_own_scores(name: str) -> None:
    cache = run(name, prompts=PROMPTS).cache
    for layer in range(2):
        for sources in ("layers", "heads"):
            found = breakdown(name, layer, -1, sources=sources)
            assert found.completeness_error < 1e-10
            for prompt, pos in enumerate(ANSWERED):
                total = found.values[prompt].sum((1, 2)) + sum(each[prompt] for each in found.constants.values())
                assert not found.values[prompt, pos + 1 :].any()
                assert not total[pos + 1 :].any()
                pattern = cache["pattern", layer][prompt, -1, pos]
                assert_close(found.pattern[prompt], pattern)
                cap = found.soft_cap
                assert (cap is not None) == (name == "gemma2")
                scores = total if cap is None else cap * torch.tanh(total / cap)
                # Hugging Face computes the softmax in float32.
                assert_close(scores.masked_fill(pattern == 0, -torch.inf).softmax(-1), pattern, 1e-6)
                own = cache["attn_scores", layer][prompt, -1, pos]
                # Where TransformerLens leaves attention to Hugging Face, it caches the pattern under this name too.
                expected = pattern if name in PATTERNS_FOR_SCORES else scores
                assert_close(own[pattern > 0], expected[pattern > 0], 1e-6)


@pytest.mark.parametrize("sources", ["layers", "heads"])
def test_heads_of_a_layer_sum_to_the_layer(sources: str) -> None:
    layers, heads = breakdown("llama-biased"), breakdown("llama-biased", sources="heads")
    assert heads.axes["query_comp"][1:8] == (*(f"L0H{head}" for head in range(6)), "0_b_O")
    grouped = heads.values[:, :, 1:8, 1:8].sum((2, 3))
    assert_close(layers.values[:, :, 1, 1], grouped)


def test_windows_are_masks_and_the_scores_behind_them_are_given_all_the_same() -> None:
    """At a window of five, the first two of seven keys get nothing."""
    found = breakdown("gemma2", layer=0)
    assert not found.pattern[0, :2].any()
    assert found.pattern[0, 2:].all()
    assert found.totals[0, :2].all()
    assert found.soft_cap == 3
    assert "before the soft cap of 3" in str(found)


@pytest.mark.parametrize("name", TWO_MODELS)
def test_centred_scores_are_those_less_their_mean_under_the_pattern(name: str) -> None:
    found = breakdown(name)
    centred = found.centred()
    assert centred.completeness_error < 1e-10
    for prompt, pos in enumerate(ANSWERED):
        seen = slice(0, pos + 1)
        weights = found.pattern[prompt, seen]
        mean = (weights[:, None, None] * found.values[prompt, seen]).sum(0)
        assert_close(centred.values[prompt, seen], found.values[prompt, seen] - mean)
        assert not centred.values[prompt, pos + 1 :].any()
        # Still scores: what is left out is the same for all keys.
        assert_close(centred.totals[prompt, seen].softmax(-1), weights, 1e-6)


@pytest.mark.parametrize("name", TWO_MODELS)
def test_a_lean_cache_is_enough(name: str) -> None:
    model = tiny(name)
    _, lean = run_with_lean_cache(model, random_tokens(PROMPTS))
    assert ("q", 0) not in lean
    assert_close(attention_score_breakdown(lean, model, 1, 1, pos=ANSWERED).values, breakdown(name).values)


def test_half_precision_is_computed_with_in_float32() -> None:
    model, _, _, cache = run("llama-biased", torch.bfloat16, prompts=PROMPTS)
    found = attention_score_breakdown(cache, model, 1, 1, pos=ANSWERED)
    assert found.values.dtype == torch.float32
    assert found.completeness_error < 2e-2


# --- how it prints, what is refused ----------------------------------------------------------------------------------


def test_what_it_prints_is_what_it_holds() -> None:
    found = breakdown("gpt2")
    lines = str(found).splitlines()
    assert lines[0].startswith("Scores of L1H1 [batch=3 key=7 query_comp=6 key_comp=6], completeness error ")
    assert len(lines) == 1 + PROMPTS * 6
    key = int(found.pattern[0].argmax())
    assert lines[1].startswith(
        f"prompt 0, query 6 '{found.tokens[0][6]}': {found.pattern[0, key]:.2f} of its attention"
    )
    pair = found.strongest()[0]
    here = found.values[0, key]
    assert abs(pair.value) == pytest.approx(float(here.abs().max()))
    i, j = (found.axes[f"{which}_comp"].index(getattr(pair, f"{which}_comp")) for which in ("query", "key"))
    assert float(here[i, j]) == pair.value
    assert lines[2] == f"  {pair.value:+.3f}  query's {pair.query_comp} × key's {pair.key_comp}"
    assert len(found.strongest(1, 0, count=100)) == 36


@pytest.mark.parametrize(
    ("layer", "head", "options", "message"),
    [
        (3, 0, {}, r"`layer` must be from 0 to 2 .* Got 3"),
        (-4, 0, {}, r"`layer` must be from 0 to 2"),
        (0, 2, {}, r"`head` must be from 0 to 1 .* Got 2"),
        (0, 0, {"pos": 7}, "`pos` must be from 0 to 6"),
        (0, 0, {"sources": "neurons"}, "`sources` must be one of 'layers', 'heads'. Got 'neurons'"),
    ],
)
def test_what_does_not_exist_is_refused(layer: int, head: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        breakdown("gpt2", layer, head, **options)


def test_scores_that_do_not_give_the_pattern_are_refused() -> None:
    """As those of a model that adds something to them which is not known here."""
    model = tiny("gpt2")
    hook = ("blocks.1.attn.hook_attn_scores", lambda scores, hook: scores + torch.arange(POSITIONS).double())
    with model.hooks(fwd_hooks=[hook]):
        cached = run_on(model, random_tokens()).cache
    with pytest.raises(UnsupportedModelError, match=r"in layer 1 the pattern they give is off by \d\.\de-01"):
        attention_score_breakdown(cached, model, 1, 0)
    assert attention_score_breakdown(cached, model, 0, 0).completeness_error < 1e-10
    assert attention_score_breakdown(cached, model, 1, 0, check=False).completeness_error < 1e-10


def test_a_missing_rotation_is_named() -> None:
    model, _, _, cache = run("llama")
    kept = {name: tensor for name, tensor in cache.items() if not name.endswith("hook_cos")}
    with pytest.raises(CacheError, match=r"lacks blocks\.1\.attn\.hook_cos"):
        attention_score_breakdown(kept, model, 1, 0)
