"""Tiny random models of every supported architecture, built from a config without any download.

Sizes differ from each other as far as an architecture allows, so that a swapped axis shows; norm weights and biases are
random and large, so that a forgotten one does.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge, sources  # noqa: F401  sources brings boot_native
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from recursive_dla import load_model

try:
    from transformer_lens import HookedTransformer, HookedTransformerConfig
except ImportError:  # TransformerLens 4 has only the bridge.
    HookedTransformer = None
LENS_3 = HookedTransformer is not None

VOCAB, CONTEXT, POSITIONS, PROMPTS = 53, 31, 7, 11

GPT2 = {"n_layer": 3, "n_head": 2, "n_embd": 10, "n_inner": 13, "n_positions": CONTEXT}
# Rotary positions need an even d_head.
PLAIN = {
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "hidden_size": 18,
    "intermediate_size": 13,
    "max_position_embeddings": CONTEXT,
}
GROUPED = {**PLAIN, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 4}
# Where d_head cannot be chosen apart from d_model.
GROUPED_SQUARE = {**PLAIN, "num_attention_heads": 6, "num_key_value_heads": 3, "hidden_size": 24}
EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 7}
NATIVE = {"n_layers": 3, "n_heads": 2, "d_head": 5, "d_model": 10, "d_mlp": 13, "d_vocab": VOCAB, "n_ctx": CONTEXT}

# A name, its class in transformers, and its config.
HUGGING_FACE: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", GPT2),
    "gpt2-gelu-untied": ("GPT2LMHeadModel", {**GPT2, "activation_function": "gelu", "tie_word_embeddings": False}),
    "gpt2-relu": ("GPT2LMHeadModel", {**GPT2, "activation_function": "relu"}),
    # No fewer dimensions of a head than positions, for what depends on which of the two is larger.
    "gpt2-wide-heads": ("GPT2LMHeadModel", {**GPT2, "n_layer": 2, "n_head": 3, "n_embd": 39, "n_inner": 17}),
    # The shape of TinyStories-1M.
    "gpt2-8-layers": ("GPT2LMHeadModel", {**GPT2, "n_layer": 8, "n_head": 16, "n_embd": 64, "n_inner": 67}),
    "llama": ("LlamaForCausalLM", GROUPED),
    "llama-biased": ("LlamaForCausalLM", {**GROUPED, "attention_bias": True, "mlp_bias": True}),
    "bloom": ("BloomForCausalLM", {"n_layer": 2, "n_head": 3, "hidden_size": 15}),
    "gpt-j": ("GPTJForCausalLM", {"n_layer": 2, "n_head": 3, "n_embd": 18, "rotary_dim": 4, "n_inner": 13}),
    "gpt-neo": (
        "GPTNeoForCausalLM",
        {
            "num_layers": 2,
            "num_heads": 3,
            "hidden_size": 15,
            "intermediate_size": 13,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 4,
        },
    ),
    "gpt-neox": ("GPTNeoXForCausalLM", PLAIN),
    "gpt-neox-sequential": ("GPTNeoXForCausalLM", {**PLAIN, "use_parallel_residual": False}),
    "gemma": ("GemmaForCausalLM", GROUPED),
    "gemma2": ("Gemma2ForCausalLM", {**GROUPED, "sliding_window": 5, "attn_logit_softcapping": 3.0}),
    "gemma3": ("Gemma3ForCausalLM", {**GROUPED, "sliding_window": 5}),
    "mistral": ("MistralForCausalLM", GROUPED),
    "mixtral": ("MixtralForCausalLM", {**GROUPED, "num_local_experts": 5, "num_experts_per_tok": 2}),
    "olmo2": ("Olmo2ForCausalLM", GROUPED_SQUARE),
    "opt": ("OPTForCausalLM", {**PLAIN, "ffn_dim": 13, "word_embed_proj_dim": 18}),
    "phi": ("PhiForCausalLM", {**PLAIN, "hidden_size": 24, "partial_rotary_factor": 0.5}),
    "phi3": ("Phi3ForCausalLM", GROUPED_SQUARE),
    "qwen2": ("Qwen2ForCausalLM", GROUPED_SQUARE),
    "qwen2-moe": ("Qwen2MoeForCausalLM", {**GROUPED_SQUARE, **EXPERTS, "shared_expert_intermediate_size": 11}),
    "qwen3": ("Qwen3ForCausalLM", GROUPED),
    "qwen3-moe": ("Qwen3MoeForCausalLM", {**GROUPED, **EXPERTS, "norm_topk_prob": True}),
    "falcon": ("FalconForCausalLM", {**PLAIN, "bias": True}),
    "gpt-bigcode": ("GPTBigCodeForCausalLM", {**GPT2, "n_layer": 2}),
    "olmo3": ("Olmo3ForCausalLM", GROUPED_SQUARE),
    "smollm3": ("SmolLM3ForCausalLM", {**GROUPED_SQUARE, "no_rope_layers": [1, 0]}),
    "stablelm": (
        "StableLmForCausalLM",
        {**GROUPED_SQUARE, "num_attention_heads": 3, "partial_rotary_factor": 0.5, "use_qkv_bias": True},
    ),
    "starcoder2": ("Starcoder2ForCausalLM", GROUPED_SQUARE),
    "cohere": ("CohereForCausalLM", GROUPED_SQUARE),
    "granite": ("GraniteForCausalLM", GROUPED_SQUARE),
    "mamba": ("MambaForCausalLM", {"hidden_size": 18, "num_hidden_layers": 2, "state_size": 3}),
    "t5": (
        "T5ForConditionalGeneration",
        {"d_model": 18, "d_kv": 6, "d_ff": 13, "num_layers": 2, "num_heads": 3, "decoder_start_token_id": 0},
    ),
}
NATIVES: dict[str, dict[str, Any]] = {
    "native-attention-only": {**NATIVE, "attn_only": True, "normalization_type": "LN"},
    "native-no-norms": {**NATIVE, "act_fn": "gelu", "normalization_type": None},
}
HOOKED: dict[str, dict[str, Any]] = {
    "hooked-LN": {**NATIVE, "d_model": 11, "act_fn": "gelu", "normalization_type": "LN"},
    "hooked-LNPre": {**NATIVE, "d_model": 11, "act_fn": "relu", "normalization_type": "LNPre"},
    "hooked-RMS": {
        **NATIVE,
        "n_layers": 2,
        "n_heads": 6,
        "n_key_value_heads": 3,
        "d_head": 4,
        "d_model": 11,
        "act_fn": "silu",
        "gated_mlp": True,
        "normalization_type": "RMS",
        "positional_embedding_type": "rotary",
        "rotary_dim": 4,
    },
    "hooked-RMSPre": {**NATIVE, "d_model": 11, "act_fn": "gelu_new", "normalization_type": "RMSPre"},
    "hooked-attention-only": {**NATIVE, "d_model": 11, "attn_only": True, "normalization_type": "LN"},
}

# The same with a b_in, which comes behind the gate; no model that HookedTransformer can load has any.
HOOKED["hooked-RMS-biased"] = HOOKED["hooked-RMS"]

REFUSED = ("cohere", "granite", "mamba", "t5")
# In every detail.
BRIDGES = (
    "gpt2",
    "gpt2-gelu-untied",
    "gpt2-relu",
    "llama",
    "llama-biased",
    "gpt2-compatible",
    "llama-biased-compatible",
    "native-attention-only",
)
MODELS = (*BRIDGES, *(name for name in HOOKED if name != "hooked-RMS-biased")) if LENS_3 else BRIDGES
# Once against every oracle; the second ones are not cached as they are computed by TransformerLens 3.
_EVERYWHERE = (
    "bloom",
    "falcon",
    "gemma",
    "gemma2",
    "gemma3",
    "gpt-bigcode",
    "gpt-j",
    "gpt-neo",
    "gpt-neox",
    "gpt-neox-sequential",
    "mistral",
    "native-no-norms",
    "opt",
    "phi",
    "phi3",
    "qwen2",
    "qwen3",
    "smollm3",
    "stablelm",
    "starcoder2",
)
NEEDS_LENS_4 = ("mixtral", "olmo2", "olmo3", "qwen2-moe", "qwen3-moe")
ARCHITECTURES = _EVERYWHERE if LENS_3 else (*_EVERYWHERE, *NEEDS_LENS_4)
EVERY_MODEL = (*MODELS, *ARCHITECTURES)
# One with each kind of norm, MLP and position; for what does not depend on the details.
TWO_MODELS = ("gpt2", "llama-biased")
COMPATIBLE = ("gpt2-compatible", "llama-biased-compatible")
ATTENTION_ONLY = ("native-attention-only", "hooked-attention-only")
WITH_MLP = tuple(name for name in EVERY_MODEL if name not in ATTENTION_ONLY)
GATED = (
    *("llama", "llama-biased", "llama-biased-compatible", "hooked-RMS"),
    *("gemma", "gemma2", "gemma3", "mistral", "mixtral", "olmo2", "olmo3", "phi3", "qwen2", "qwen2-moe", "qwen3"),
    *("qwen3-moe", "smollm3", "stablelm"),
)
WITH_EXPERTS = ("mixtral", "qwen2-moe", "qwen3-moe")


class Run(NamedTuple):
    """A model, the prompts it ran on, and what TransformerLens's ``run_with_cache`` gave."""

    model: Any
    tokens: Tensor
    logits: Tensor
    cache: Any


def available(*names: str) -> tuple[str, ...]:
    """Those of the models that this TransformerLens runs as they should be."""
    return tuple(name for name in names if not (LENS_3 and name in NEEDS_LENS_4))


# One with each kind of block: a plain MLP behind LayerNorm; a gated one behind RMSNorm, with grouped queries and biases
# everywhere; a parallel block; norms behind the sublayers, windows and soft caps; experts; no MLPs.
FEW = available("gpt2", "llama-biased", "gpt-j", "gemma2", "mixtral", "native-attention-only")


def matrix(cases: Iterable[Any]) -> list[Any]:
    """Cases of a test, each a model or a tuple that starts with one; `make test` runs those of the few alone."""
    every = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case, marks=() if case[0] in FEW else pytest.mark.thorough) for case in every]


def random_tokens(prompts: int = 1, positions: int = POSITIONS, seed: int = 3) -> Tensor:
    return torch.randint(1, VOCAB, (prompts, positions), generator=torch.Generator().manual_seed(seed))


@cache
def tiny(name: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> Any:
    """The model called ``name``, in one of the tables above; ``-compatible`` for compatibility mode."""
    if name in HOOKED:
        return _hooked(name, dtype, seed)
    if name in NATIVES:
        model = TransformerBridge.boot_native(NATIVES[name]).to(dtype).eval()
        randomise(dict(model.named_parameters()), seed)
        return model
    model = boot(hugging_face(name.removesuffix("-compatible"), seed), name, dtype)
    if name.endswith("-compatible"):
        model.enable_compatibility_mode()
    return model


@cache
def run(name: str, dtype: torch.dtype = torch.float64, prompts: int = 1, seed: int = 0) -> Run:
    """The model called ``name`` run on random prompts."""
    return run_on(tiny(name, dtype, seed), random_tokens(prompts))


@torch.no_grad()
def run_on(model: Any, tokens: Tensor, **options: Any) -> Run:
    return Run(model, tokens, *model.run_with_cache(tokens, **options))


def precision(name: str, dtype: torch.dtype = torch.float64) -> float:
    """How well sums over a model's activations are kept, relative to their largest part."""
    if dtype == torch.float32:
        return 1e-5
    # Hugging Face computes the shares of experts in float32.
    return 1e-6 if name in WITH_EXPERTS else 1e-10


def uncapped(model: Any, logits: Tensor) -> Tensor:
    """The logits before a model squashes them, which are what is explained."""
    cap = model.cfg.output_logits_soft_cap
    return cap * torch.atanh(logits / cap) if cap > 0 else logits


@cache
def demo_run(dtype: torch.dtype = torch.float32) -> Run:
    """The demo model run on the prompt of the package's examples."""
    model = load_model("demo", dtype=dtype)
    return run_on(model, model.to_tokens("When John and Mary went to the store, John gave a drink to"))


def hugging_face(name: str, seed: int = 0) -> PreTrainedModel:
    """A random model of Hugging Face's own classes, in float64."""
    architecture, sizes = HUGGING_FACE[name]
    kind = getattr(transformers, architecture)
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    model = kind(kind.config_class(vocab_size=VOCAB, **special, **sizes)).double().eval()
    randomise(dict(model.named_parameters()), seed)
    return model


@torch.no_grad()
def randomise(parameters: Mapping[str, Tensor], seed: int) -> None:
    """Weights at which attention is neither flat nor a single position, and no bias or norm weight is negligible."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in parameters.items():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        norm_weight = parameter.ndim == 1 and ("norm" in name or "ln" in name) and not name.endswith(("bias", ".b"))
        parameter.copy_(1 + 0.5 * noise if norm_weight else (0.5 if parameter.ndim == 1 else 0.4) * noise)


def boot(
    model: PreTrainedModel, name: str, dtype: torch.dtype = torch.float64, words: Iterable[str] | None = None
) -> Any:
    """A Hugging Face model as a ``TransformerBridge``, with a :func:`tokenizer`."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, name)
        model.save_pretrained(folder)
        tokenizer(words).save_pretrained(folder)
        bridge = load_model(folder, dtype=dtype)
    if dtype != torch.float64:
        # The product over all experts at once takes no sizes as odd as these.
        bridge.original_model.config._experts_implementation = "eager"
    return bridge


def tokenizer(words: Iterable[str] | None = None) -> PreTrainedTokenizerFast:
    """Words, ``w1`` to ``w52`` if no others are given, separated by spaces; 0 is for all else."""
    words = (f"w{number}" for number in range(1, VOCAB)) if words is None else words
    vocabulary = {word: number for number, word in enumerate(("<bos>", *words))}
    whole_words = Tokenizer(WordLevel(vocabulary, unk_token="<bos>"))
    whole_words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<bos>")
    return PreTrainedTokenizerFast(tokenizer_object=whole_words, **special)


def _hooked(name: str, dtype: torch.dtype, seed: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = HookedTransformer(HookedTransformerConfig(**HOOKED[name], dtype=dtype, device="cpu"))
    parameters = dict(model.named_parameters())
    randomise(parameters, seed)
    if name == "hooked-RMS":
        for layer in range(model.cfg.n_layers):
            parameters[f"blocks.{layer}.mlp.b_in"].data.zero_()
    return model.eval()
