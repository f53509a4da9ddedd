"""The architectures of ``TransformerBridge`` that are supported, each verified against the oracles in tests/.

Most of an architecture is read off TransformerLens's modules: which norms there are, whether MLPs are gated, parallel
or have experts. An entry here says the rest. To add one: enter it, add a row to ``tests/models.py``, and run the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """What cannot be read off the modules.

    Attributes:
        activation: The MLP's activation, where TransformerLens's config names it wrongly.
        score_factor: What the products of queries and keys are multiplied by, where no module says and it is not
            ``1 / sqrt(d_head)``.
        requires: Attributes of the Hugging Face config that must have these values; other variants of the architecture
            compute something that the formulas here do not cover.
        unlike_in_lens_3: What the bridge of TransformerLens 3 does otherwise, for which it is refused.
    """

    activation: str | None = None
    score_factor: float | None = None
    requires: Mapping[str, Any] = field(default_factory=dict)
    unlike_in_lens_3: str = ""


_NORMS_AFTER = "has the norms after the sublayers where those before them belong"
_EXPERTS = Architecture(unlike_in_lens_3="does not cache which experts were chosen")

ARCHITECTURES: dict[str, Architecture] = {
    "BloomForCausalLM": Architecture(
        activation="gelu_bloom", requires={"apply_residual_connection_post_layernorm": False}
    ),
    # Its config's name for the activation is not one that TransformerLens reads.
    "FalconForCausalLM": Architecture(activation="gelu", requires={"activation": "gelu"}),
    "GPT2LMHeadModel": Architecture(),
    "GPTBigCodeForCausalLM": Architecture(),
    "GPTJForCausalLM": Architecture(),
    "GPTNeoForCausalLM": Architecture(score_factor=1.0),
    "GPTNeoXForCausalLM": Architecture(),
    "Gemma2ForCausalLM": Architecture(),
    "Gemma3ForCausalLM": Architecture(),
    "GemmaForCausalLM": Architecture(),
    "LlamaForCausalLM": Architecture(),
    "MistralForCausalLM": Architecture(),
    "MixtralForCausalLM": _EXPERTS,
    # Only its largest sizes put norms before the sublayers and embed at the model's width.
    "OPTForCausalLM": Architecture(requires={"do_layer_norm_before": True}),
    "Olmo2ForCausalLM": Architecture(unlike_in_lens_3=_NORMS_AFTER),
    "Olmo3ForCausalLM": Architecture(unlike_in_lens_3=_NORMS_AFTER),
    "Phi3ForCausalLM": Architecture(),
    "PhiForCausalLM": Architecture(),
    "Qwen2ForCausalLM": Architecture(),
    "Qwen2MoeForCausalLM": _EXPERTS,
    "Qwen3ForCausalLM": Architecture(),
    "Qwen3MoeForCausalLM": _EXPERTS,
    "SmolLM3ForCausalLM": Architecture(),
    # Its norms on queries and keys have weights of their own for each head.
    "StableLmForCausalLM": Architecture(requires={"qk_layernorm": False}),
    "Starcoder2ForCausalLM": Architecture(),
    # Models built by TransformerBridge.boot_native, attention-only ones among them.
    "TransformerLensNative": Architecture(),
}
