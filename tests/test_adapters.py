"""The adapter: weights read right from every architecture, and what is not supported refused by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import CONTEXT, EVERY_MODEL, LENS_3, NEEDS_LENS_4, REFUSED, boot, hugging_face, run, tiny, tokenizer
from oracles import PlainBank, PlainNorm, assert_close, plain_model
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from recursive_dla import UnsupportedModelError, attribution_graph, load_model
from recursive_dla.errors import InputError
from recursive_dla.model.tokens import added_in_front, prompt_tokens, token_ids, token_texts
from recursive_dla.model.transformer_lens import model_weights
from recursive_dla.model.weights import Layer, NeuronBank, Norm, in_float32

# --- weights ---------------------------------------------------------------------------------------------------------


def assert_same(found: Tensor | None, expected: Tensor) -> None:
    """An absent weight stands for zeros."""
    if found is None:
        assert not expected.any()
    else:
        assert_close(found, expected, 1e-12)


def assert_same_norm(found: Norm | None, expected: PlainNorm) -> None:
    if found is None:
        assert expected.absent
        return
    assert found.centers == expected.centers
    assert_close(torch.ones_like(expected.w) if found.weight is None else found.weight, expected.w, 1e-12)
    assert_same(found.bias, expected.b)
    assert found.eps == pytest.approx(expected.eps, rel=1e-4)


def assert_same_bank(found: NeuronBank, expected: PlainBank) -> None:
    assert_same(found.W_in, expected.W_in)
    assert_same(found.b_in, expected.b_in)
    assert (found.W_gate is None) == (expected.W_gate is None)
    if expected.W_gate is not None:
        assert_same(found.W_gate, expected.W_gate)
        assert_same(found.b_gate, expected.b_gate)
    assert_same(found.W_out, expected.W_out)


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_weights_are_those_that_give_the_models_logits(name: str) -> None:
    """The oracle's: see test_oracles.py."""
    weights, plain = model_weights(tiny(name)), plain_model(tiny(name))
    assert weights.n_layers == len(plain.layers)
    for layer, expected in zip(weights.layers, plain.layers, strict=True):
        attention = layer.attention
        group = len(attention.W_O) // len(attention.W_V)
        assert len(attention.W_O) == weights.n_heads == len(expected.heads)
        for index, head in enumerate(expected.heads):
            assert_same(attention.W_V[index // group], head.W_V)
            assert_same(None if attention.b_V is None else attention.b_V[index // group], head.b_V)
            assert_same(attention.W_O[index], head.W_O)
        assert_same(attention.b_O, expected.b_O)
        assert_same_norm(attention.norm, expected.norm)
        assert_same_norm(attention.out_norm, expected.out_norm)
        assert layer.parallel == expected.parallel
        assert (layer.mlp is None) == (expected.mlp is None)
        if layer.mlp is not None:
            for bank, plain_bank in zip(layer.mlp.banks, expected.mlp.banks, strict=True):
                assert_same_bank(bank, plain_bank)
            assert_same(layer.mlp.b_out, expected.mlp.b_out)
            assert_same_norm(layer.mlp.norm, expected.mlp.norm)
            assert_same_norm(layer.mlp.out_norm, expected.mlp.out_norm)
    assert_same_norm(weights.final_norm, plain.norm)
    assert_same(weights.W_U, plain.W_U)
    assert_same(weights.b_U, plain.b_U)
    assert weights.has_pos_embed == ("hook_pos_embed" in run(name).cache)


def test_gpt2_by_the_names_of_hugging_face() -> None:
    weights, state = model_weights(tiny("gpt2")), hugging_face("gpt2").state_dict()
    assert (weights.n_layers, weights.n_heads, weights.d_head, weights.d_model, weights.d_vocab) == (3, 2, 5, 10, 53)
    assert (weights.name, weights.dtype, weights.device.type) == ("gpt2", torch.float64, "cpu")
    for index, layer in enumerate(weights.layers):
        of = {name: state[f"transformer.h.{index}.{name}"] for name in _names(state, f"transformer.h.{index}.")}
        value = of["attn.c_attn.weight"][:, 20:], of["attn.c_attn.bias"][20:]
        for head, columns in enumerate((slice(0, 5), slice(5, 10))):
            assert_same(layer.attention.W_V[head], value[0][:, columns])
            assert_same(layer.attention.b_V[head], value[1][columns])
            assert_same(layer.attention.W_O[head], of["attn.c_proj.weight"][columns])
        assert_same(layer.attention.b_O, of["attn.c_proj.bias"])
        assert_same(layer.attention.norm.weight, of["ln_1.weight"])
        assert_same(layer.attention.norm.bias, of["ln_1.bias"])
        assert_same(layer.mlp.norm.weight, of["ln_2.weight"])
        assert_same(layer.mlp.norm.bias, of["ln_2.bias"])
        assert_same(layer.mlp.neurons.W_in, of["mlp.c_fc.weight"])
        assert_same(layer.mlp.neurons.b_in, of["mlp.c_fc.bias"])
        assert_same(layer.mlp.neurons.W_out, of["mlp.c_proj.weight"])
        assert_same(layer.mlp.b_out, of["mlp.c_proj.bias"])
        assert not layer.mlp.gated
    assert_same(weights.final_norm.weight, state["transformer.ln_f.weight"])
    assert_same(weights.W_E, state["transformer.wte.weight"])
    assert_same(weights.W_U, state["lm_head.weight"].T)
    assert weights.b_U is None


def test_llama_by_the_names_of_hugging_face() -> None:
    weights, state = model_weights(tiny("llama-biased")), hugging_face("llama-biased").state_dict()
    assert (weights.n_layers, weights.n_heads, weights.d_head, weights.d_model) == (2, 6, 4, 18)
    for index, layer in enumerate(weights.layers):
        of = {name: state[f"model.layers.{index}.{name}"] for name in _names(state, f"model.layers.{index}.")}
        for group in range(3):
            assert_same(layer.attention.W_V[group], of["self_attn.v_proj.weight"][4 * group : 4 * group + 4].T)
            assert_same(layer.attention.b_V[group], of["self_attn.v_proj.bias"][4 * group : 4 * group + 4])
        for head in range(6):
            assert_same(layer.attention.W_O[head], of["self_attn.o_proj.weight"][:, 4 * head : 4 * head + 4].T)
        assert_same(layer.attention.b_O, of["self_attn.o_proj.bias"])
        assert_same(layer.attention.norm.weight, of["input_layernorm.weight"])
        assert_same(layer.mlp.norm.weight, of["post_attention_layernorm.weight"])
        for ours, theirs in (("W_gate", "gate_proj"), ("W_in", "up_proj"), ("W_out", "down_proj")):
            assert_same(getattr(layer.mlp.neurons, ours), of[f"mlp.{theirs}.weight"].T)
        assert_same(layer.mlp.neurons.b_gate, of["mlp.gate_proj.bias"])
        assert_same(layer.mlp.neurons.b_in, of["mlp.up_proj.bias"])
        assert_same(layer.mlp.b_out, of["mlp.down_proj.bias"])
        assert layer.mlp.gated
    assert_same(weights.final_norm.weight, state["model.norm.weight"])
    assert weights.final_norm.bias is None


def _names(state: dict[str, Tensor], prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in state if name.startswith(prefix)]


def test_weights_are_returned_as_they_are_and_biases_of_zeros_are_none() -> None:
    weights = model_weights(tiny("llama"))
    assert model_weights(weights) is weights
    for layer in weights.layers:
        assert layer.attention.b_V is layer.attention.b_O is layer.mlp.b_out is layer.mlp.neurons.b_in is None
    # Folding leaves biases of zeros behind.
    assert model_weights(tiny("gpt2-compatible")).layers[0].attention.b_V is None


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED)
def test_an_architecture_that_is_not_supported_is_refused_by_name(name: str) -> None:
    model, cache = tiny(name), run("gpt2").cache
    message = f"Architecture {type(hugging_face(name)).__name__} is not supported. Supported: .*GPT2LMHeadModel"
    with pytest.raises(UnsupportedModelError, match=message):
        model_weights(model)
    with pytest.raises(UnsupportedModelError, match=message):
        attribution_graph(cache, model, 5)


@pytest.mark.skipif(not LENS_3, reason="TransformerLens 4 does what is needed")
@pytest.mark.parametrize("name", NEEDS_LENS_4)
def test_what_the_bridge_of_transformer_lens_3_does_otherwise_is_named(name: str) -> None:
    reason = "has the norms after the sublayers" if name.startswith("olmo") else "does not cache which experts"
    with pytest.raises(UnsupportedModelError, match=f"needs TransformerLens 4: the TransformerBridge of .* {reason}"):
        model_weights(tiny(name))


@pytest.mark.parametrize("given", [None, "gpt2", {}, torch.nn.Linear(2, 3)], ids=lambda given: type(given).__name__)
def test_what_is_no_model_is_refused(given: Any) -> None:
    message = f"Expected a TransformerLens TransformerBridge or HookedTransformer. Got {type(given).__name__}"
    with pytest.raises(UnsupportedModelError, match=message):
        model_weights(given)


FEATURES = [
    ({"attention_dir": "bidirectional"}, "bidirectional attention"),
    ({"load_in_4bit": True}, "4-bit weights"),
    ({"positional_embedding_type": "shortformer"}, "the positional embedding 'shortformer'"),
    ({"positional_embedding_type": "relative_positional_bias"}, "the positional embedding 'relative_positional_bias'"),
    ({"normalization_type": "CLN"}, "the normalisation 'CLN'"),
    ({"act_fn": "solu_ln"}, "the activation 'solu_ln'"),
]


@pytest.mark.parametrize(("changes", "feature"), FEATURES, ids=str)
def test_a_feature_that_is_not_supported_is_refused_by_name(changes: dict[str, Any], feature: str) -> None:
    cfg = SimpleNamespace(**{**vars(tiny("gpt2").cfg), **changes, "model_name": "odd"})
    model = SimpleNamespace(cfg=cfg, blocks=[])
    with pytest.raises(UnsupportedModelError, match=f"Model odd has {feature}.*, which is not supported"):
        model_weights(model)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("bloom", {"apply_residual_connection_post_layernorm": True}),
        ("opt", {"do_layer_norm_before": False}),
        ("stablelm", {"qk_layernorm": True}),
    ],
)
def test_a_variant_that_is_not_supported_is_refused_by_its_setting(name: str, setting: dict[str, bool]) -> None:
    hf = hugging_face(name)
    ((key, value),) = setting.items()
    setattr(hf.config, key, value)
    message = rf"is supported with {key}={not value}, and this model has {key}={value}"
    with pytest.raises(UnsupportedModelError, match=message):
        model_weights(boot(hf, name))


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_tokens_as_ids_and_texts() -> None:
    model = tiny("gpt2")
    assert token_ids(model, "w5").tolist() == [5]
    assert token_ids(model, 5).tolist() == [5]
    assert token_ids(model, ["w5", 0, "w52"]).tolist() == [5, 0, 52]
    assert token_texts(model, torch.tensor([5, 0])) == ["w5", "<bos>"]
    assert prompt_tokens(model, "w5 w7 w5").tolist()[0][-3:] == [5, 7, 5]
    with pytest.raises(InputError, match="The prompt is empty"):
        prompt_tokens(model, "")


def test_a_prompt_that_does_not_fit_is_refused_and_never_cut() -> None:
    model = tiny("gpt2")
    assert prompt_tokens(model, " ".join(["w5"] * (CONTEXT - 1))).tolist() == [[0] + [5] * (CONTEXT - 1)]
    with pytest.raises(InputError, match=r"is 41 tokens \(with '<bos>' in front\), and the model has 31 positions"):
        prompt_tokens(model, " ".join(["w5"] * 40))
    with pytest.raises(InputError, match=r"is 32 tokens, and the model has 31"):
        prompt_tokens(model, " ".join(["<bos>", *["w5"] * 31]))


@pytest.mark.parametrize("by_default", [True, False])
@pytest.mark.parametrize("by_tokenizer", [True, False])
def test_a_prompt_has_the_beginning_that_it_is_given(by_default: bool, by_tokenizer: bool) -> None:
    model = boot(hugging_face("gpt2"), "gpt2")
    single = "<bos> $A" if by_tokenizer else "$A"
    model.tokenizer._tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=[("<bos>", 0)])
    model.cfg.tokenizer_prepends_bos = by_tokenizer
    model.cfg.default_prepend_bos = by_default
    for prompt, expected, added in (
        ("w5 w7", [0, 5, 7] if by_default else [5, 7], ["<bos>"] if by_default else []),
        ("<bos> w5 w7", [0, 5, 7], []),
        ("<bos><bos>w5 w7", [0, 0, 5, 7], []),
        ("w5 <bos> w7", [0, 5, 0, 7] if by_default else [5, 0, 7], ["<bos>"] if by_default else []),
    ):
        tokens = prompt_tokens(model, prompt)
        assert tokens.tolist() == [expected], prompt
        assert added_in_front(model, prompt, tokens) == added


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("w1 w2", r"The answer 'w1 w2' must be one token. It is 2: \['w1', 'w2'\]"),
        ("", r"It is 0: \[\]"),
        (53, "must be from 0 to 52. Got 53"),
        (-1, "must be from 0 to 52. Got -1"),
    ],
)
def test_what_is_not_one_token_is_refused(token: str | int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        token_ids(tiny("gpt2"), ["w1", token])


def test_a_space_is_suggested_where_it_helps() -> None:
    words = {" Mary": [7], "Mary": [3, 4], "John": [5, 6]}

    def encode(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": words.get(text, [1, 2, 3])}

    encode.decode = lambda ids: f"<{ids[0]}>"  # type: ignore[attr-defined]
    model = SimpleNamespace(tokenizer=encode, cfg=SimpleNamespace(d_vocab=9))
    assert token_ids(model, " Mary").tolist() == [7]
    with pytest.raises(InputError, match=r"It is 2: \['<3>', '<4>'\]\. 'Mary' with a space before it"):
        token_ids(model, "Mary")
    with pytest.raises(InputError, match=r"It is 2: \['<5>', '<6>'\]\.$"):
        token_ids(model, "John")


def test_words_need_a_tokenizer() -> None:
    model = tiny("native-attention-only")
    assert token_texts(model, torch.tensor([5, 52])) == ["5", "52"]
    assert token_ids(model, [5, 52]).tolist() == [5, 52]
    with pytest.raises(InputError, match="no tokenizer, so the answer 'w5' must be given as a token id"):
        token_ids(model, "w5")


# --- loading ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_loaded_in_the_precision_asked_for(tmp_path: Any) -> None:
    hugging_face("llama").save_pretrained(tmp_path / "tiny")
    tokenizer().save_pretrained(tmp_path / "tiny")
    assert model_weights(load_model(str(tmp_path / "tiny"))).dtype == torch.float32
    model = load_model(tmp_path / "tiny", dtype=torch.float64, device="cpu")
    assert model_weights(model).dtype == torch.float64
    assert model_weights(model).name == "tiny"
    # Norms included, which Hugging Face's own code rounds to float32.
    x = torch.randn(1, 1, 18, dtype=torch.float64)
    rms = x.pow(2).mean().add(1e-6).sqrt()
    with torch.no_grad():
        assert_close(model.ln_final(x), x / rms * model_weights(model).final_norm.weight, 1e-14)


def test_what_cannot_be_loaded_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "nowhere", tmp_path / "empty", "nobody/no-such-model"):
        with pytest.raises(InputError, match=f"Model '{source}' could not be loaded. Give 'demo', a local folder or"):
            load_model(source)
    monkeypatch.setitem(sys.modules, "transformer_lens.model_bridge", None)
    with pytest.raises(InputError, match=r'needs TransformerLens 4: pip install "recursive-dla\[demo\]"'):
        load_model(tmp_path / "empty")


def test_a_part_of_a_layer_is_looked_up_once_and_when_it_is_needed() -> None:
    found = model_weights(tiny("gpt2")).stored_layers[1]
    looked_up: list[str] = []

    def find(part: str) -> Callable[[], Any]:
        def look_up() -> Any:
            looked_up.append(part)
            return getattr(found, part)

        return look_up

    layer = Layer(parallel=False, find_attention=find("attention"), find_scores=find("scores"), find_mlp=find("mlp"))
    assert looked_up == []
    assert layer.attention is layer.attention is found.attention
    assert looked_up == ["attention"]
    wide = in_float32(layer)
    assert looked_up == ["attention"]
    assert wide.mlp.b_out.dtype == torch.float32
    assert looked_up == ["attention", "mlp"]
