"""Activation names: the same as TransformerLens's for everything that it names."""

from __future__ import annotations

import pytest
from transformer_lens.utilities.components_utils import get_act_name

from recursive_dla.cache.hook_names import activation_name

EMBEDDINGS = ["embed", "pos_embed"]
ATTENTION = ["q", "k", "v", "z", "rot_q", "rot_k", "attn_scores", "pattern", "result"]
ATTENTION_ALIASES = ["attn", "attn_logits", "query", "key", "value"]
MLP = ["pre", "mid", "post", "pre_linear", "mlp_pre", "mlp_mid", "mlp_post"]
STREAM = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]
NORMS = ["scale", "normalized"]
NAMES = EMBEDDINGS + ATTENTION + ATTENTION_ALIASES + MLP + STREAM + NORMS
SUBLAYERS = [None, "", "attn", "mlp", "ln1", "ln2", "a", "m", "b", "block", "blocks", "attention"]
COMPACT = ["k6", "q0", "scale4ln1", "normalized13ln2", "pre5", "pattern11", "z2attn", "embed3", "post7m", "k6a"]
FULL = ["hook_embed", "blocks.3.attn.hook_pattern", "ln_final.hook_scale", "embed.hook_in", "unembed.hook_out"]


@pytest.mark.parametrize("layer", [None, 0, 1, 13])
@pytest.mark.parametrize("name", NAMES)
def test_names_with_layer_and_sublayer(name: str, layer: int | None) -> None:
    ours = [activation_name(name, layer, sublayer) for sublayer in SUBLAYERS]
    assert ours == [get_act_name(name, layer, sublayer) for sublayer in SUBLAYERS]


@pytest.mark.parametrize("name", COMPACT + FULL)
def test_compact_and_full_names(name: str) -> None:
    assert activation_name(name) == get_act_name(name)
    assert activation_name(name, 5, "ln2") == get_act_name(name, 5, "ln2")


@pytest.mark.parametrize(
    ("name", "layer", "sublayer", "expected"),
    [
        ("embed", None, None, "hook_embed"),
        ("k", 6, "a", "blocks.6.attn.hook_k"),
        ("pre", 2, None, "blocks.2.mlp.hook_pre"),
        ("normalized", 27, "ln2", "blocks.27.ln2.hook_normalized"),
        ("scale4ln1", None, None, "blocks.4.ln1.hook_scale"),
        ("scale", None, None, "ln_final.hook_scale"),
        # TransformerLens's compact form stops at an underscore; ours does not.
        ("resid_pre5", None, None, "blocks.5.hook_resid_pre"),
        ("attn_scores0", None, None, "blocks.0.attn.hook_attn_scores"),
    ],
)
def test_some_names_by_hand(name: str, layer: int | None, sublayer: str | None, expected: str) -> None:
    assert activation_name(name, layer, sublayer) == expected
