"""From a TransformerLens model to one uniform, read-only view of its weights.

This is the only file that knows how TransformerLens holds a model. It accepts a ``TransformerBridge`` (4.x, with
Hugging Face's weights as they are or in compatibility mode) and a ``HookedTransformer`` (3.x), and refuses by name what
the formulas of this package do not cover. Nothing is copied or folded: a norm keeps its own weight and bias. Each
weight is looked up when it is first needed.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recursive_dla.errors import UnsupportedModelError
from recursive_dla.model.architectures import ARCHITECTURES, Architecture
from recursive_dla.model.weights import (
    MLP,
    Attention,
    HeadNorm,
    Layer,
    ModelWeights,
    NeuronBank,
    Norm,
    Rotary,
    Router,
    Scores,
    in_float32,
    is_half,
)


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
    if cfg is None or not (_is_bridge(model) or hasattr(model, "blocks")):
        raise UnsupportedModelError(
            "Expected a TransformerLens TransformerBridge or HookedTransformer."
            f" Got {type(model).__name__}; load a model with recursive_dla.load_model(...)."
        )
    _refuse_unsupported(model, cfg)
    with torch.inference_mode(False), torch.no_grad():
        return ModelWeights(
            name=_model_name(cfg),
            stored_layers=tuple(_layer(block, f"blocks.{index}", cfg) for index, block in enumerate(model.blocks)),
            final_norm=_final_norm(model, cfg),
            W_E=model.W_E.detach(),
            W_U=model.W_U.detach(),
            b_U=_bias(model, "b_U"),
            has_pos_embed=cfg.positional_embedding_type == "standard",
            logit_soft_cap=cfg.output_logits_soft_cap if cfg.output_logits_soft_cap > 0 else None,
        )


def _final_norm(model: Any, cfg: Any) -> Norm | None:
    norm = _norm(model, "ln_final", "ln_final", cfg)
    return in_float32(norm) if norm is not None and is_half(model.W_U.dtype) else norm


def _refuse_unsupported(model: Any, cfg: Any) -> None:
    """Name the first thing that the formulas here do not cover."""
    if _is_bridge(model):
        if cfg.architecture not in ARCHITECTURES:
            raise UnsupportedModelError(
                f"Architecture {cfg.architecture} is not supported. Supported: {', '.join(sorted(ARCHITECTURES))}."
            )
        unlike = ARCHITECTURES[cfg.architecture].unlike_in_lens_3
        if unlike and _lens_version() < 4:
            raise UnsupportedModelError(
                f"{cfg.architecture} needs TransformerLens 4: the TransformerBridge of version 3 {unlike}."
                ' Update it: pip install "transformer-lens>=4".'
            )
        config = getattr(model.original_model, "config", None)
        for name, needed in ARCHITECTURES[cfg.architecture].requires.items():
            if (found := getattr(config, name, needed)) != needed:
                raise UnsupportedModelError(
                    f"{cfg.architecture} is supported with {name}={needed}, and this model has {name}={found}."
                )
    features = {
        "bidirectional attention": cfg.attention_dir != "causal",
        "4-bit weights": cfg.load_in_4bit,
        f"the positional embedding {cfg.positional_embedding_type!r}": (
            cfg.positional_embedding_type not in ("standard", "rotary", "alibi")
        ),
        f"the normalisation {cfg.normalization_type!r}": (
            cfg.normalization_type not in ("LN", "LNPre", "RMS", "RMSPre", None)
        ),
        f"the activation {cfg.act_fn!r}, which has a norm inside": str(cfg.act_fn).endswith("_ln"),
    }
    for name, present in features.items():
        if present:
            raise UnsupportedModelError(f"Model {_model_name(cfg)} has {name}, which is not supported.")


def _is_bridge(model: Any) -> bool:
    return hasattr(model, "original_model")


def _lens_version() -> int:
    return int(version("transformer-lens").split(".")[0])


def _model_name(cfg: Any) -> str:
    # A model loaded from a folder carries the folder's path as its name.
    return Path(str(cfg.model_name)).name or "model"


def _layer(block: Any, module: str, cfg: Any) -> Layer:
    layer = Layer(
        parallel=not cfg.attn_only and bool(cfg.parallel_attn_mlp),
        find_attention=lambda: _attention(block, module, cfg),
        find_scores=lambda: _scores(block.attn, module, cfg),
        find_mlp=lambda: None if cfg.attn_only else _mlp(block, module, cfg, layer),
    )
    return layer


def _attention(block: Any, module: str, cfg: Any) -> Attention:
    attn = block.attn
    return Attention(
        norm=_norm(block, "ln1", f"{module}.ln1", cfg),
        out_norm=_norm(block, "ln1_post", f"{module}.ln1_post", cfg),
        W_V=getattr(attn, _as_stored(attn, "W_V")).detach(),
        b_V=_bias(attn, _as_stored(attn, "b_V")),
        W_O=attn.W_O.detach(),
        b_O=_bias(attn, "b_O"),
    )


def _as_stored(attn: Any, name: str) -> str:
    """HookedTransformer's grouped-query attention repeats keys and values per query head; ``_W_V`` is as stored."""
    return f"_{name}" if hasattr(attn, "_W_V") else name


def _mlp(block: Any, module: str, cfg: Any, layer: Layer) -> MLP:
    # A parallel block without a second norm gives the MLP what it gives the attention.
    norm = _norm(block, "ln2", f"{module}.ln2", cfg)
    banks, router = _experts(block.mlp) if cfg.num_experts else ((_neurons(block.mlp, bool(cfg.gated_mlp)),), None)
    return MLP(
        norm=layer.attention.norm if norm is None and layer.parallel else norm,
        out_norm=_norm(block, "ln2_post", f"{module}.ln2_post", cfg),
        activation=_architecture(cfg).activation or str(cfg.act_fn),
        banks=banks,
        router=router,
        b_out=None if router else _bias(block.mlp, "b_out"),
    )


def _architecture(cfg: Any) -> Architecture:
    """What is entered for the architecture; nothing is for those of ``HookedTransformer``."""
    return ARCHITECTURES.get(getattr(cfg, "architecture", None) or "", Architecture())


def _scores(attn: Any, module: str, cfg: Any) -> Scores:
    cap = float(getattr(cfg, "attn_scores_soft_cap", 0.0))
    rotates = cfg.positional_embedding_type == "rotary"
    return Scores(
        W_Q=attn.W_Q.detach(),
        b_Q=_bias(attn, "b_Q"),
        W_K=getattr(attn, _as_stored(attn, "W_K")).detach(),
        b_K=_bias(attn, _as_stored(attn, "b_K")),
        q_norm=_head_norm(attn, "q_norm", module, cfg),
        k_norm=_head_norm(attn, "k_norm", module, cfg),
        # SmolLM3 leaves some layers without positions.
        rotary=_rotary(attn, cfg) if rotates and getattr(_unwrapped(attn), "use_rope", True) else None,
        factor=_score_factor(attn, cfg),
        soft_cap=cap if cap > 0 else None,
        alibi_slopes=_alibi_slopes(attn.W_Q) if cfg.positional_embedding_type == "alibi" else None,
    )


def _head_norm(attn: Any, name: str, module: str, cfg: Any) -> HeadNorm | None:
    norm = _norm(attn, name, f"{module}.attn.{name}", cfg)
    if norm is None:
        return None
    weight = getattr(getattr(attn, name), "w", None)
    return HeadNorm(norm, joint=weight is not None and weight.numel() != attn.W_Q.shape[-1])


def _score_factor(attn: Any, cfg: Any) -> float:
    entered = _architecture(cfg).score_factor
    if entered is not None:
        return entered
    original = _unwrapped(attn)
    if isinstance(factor := getattr(original, "scaling", None), float):
        return factor
    # HookedTransformer and models of boot_native divide.
    for owner, name in ((attn, "attn_scale"), (original, "scale")):
        if isinstance(divisor := getattr(owner, name, None), (int, float)):
            return 1 / float(divisor)
    return float(attn.W_Q.shape[-1] ** -0.5)


def _rotary(attn: Any, cfg: Any) -> Rotary:
    if hasattr(attn, "rotary_cos"):  # HookedTransformer
        return Rotary(bool(cfg.rotary_adjacent_pairs), attn.rotary_cos.detach(), attn.rotary_sin.detach())
    original = _unwrapped(attn)
    if (table := getattr(original, "embed_positions", None)) is not None:  # GPT-J, one number for each pair
        sin, cos = table.detach().repeat_interleave(2, dim=-1).chunk(2, dim=-1)
        return Rotary(True, cos, sin)
    if (native := getattr(original, "rotary", None)) is not None:  # boot_native
        return Rotary(False, native.cos_cached.detach(), native.sin_cached.detach())
    return Rotary(bool(getattr(cfg, "rotary_interleaved_cos_sin", False)), None, None)


def _alibi_slopes(W_Q: Tensor) -> Tensor:
    """Press et al. 2022, "Train Short, Test Long": powers of ``2^(-8/n)``; in float32, as models compute them."""
    n_heads = W_Q.shape[0]
    n = 2 ** (n_heads.bit_length() - 1)
    # Of a number of heads that is no power of two, the others take every other slope of twice as many heads.
    exponents = [8 * (i + 1) / n for i in range(n)] + [4 * (2 * i + 1) / n for i in range(n_heads - n)]
    return torch.pow(2.0, -torch.tensor(exponents, device=W_Q.device)).to(W_Q.dtype)


def _neurons(mlp: Any, gated: bool) -> NeuronBank:
    return NeuronBank(
        W_in=mlp.W_in.detach(),
        b_in=_bias(mlp, "b_in"),
        W_gate=mlp.W_gate.detach() if gated else None,
        b_gate=_bias(mlp, "b_gate") if gated else None,
        W_out=mlp.W_out.detach(),
    )


def _experts(mlp: Any) -> tuple[tuple[NeuronBank, ...], Router]:
    """The experts of a layer, then the shared one if it has one, and what routes between them."""
    original = getattr(mlp, "original_component", None)
    if original is None:  # HookedTransformer: experts are modules of their own
        banks = [_bank(expert.W_gate.weight, expert.W_in.weight, expert.W_out.weight) for expert in mlp.experts]
        return tuple(banks), Router(
            mlp.W_gate.weight.detach(), mlp.experts_per_token, bool(mlp.cfg.norm_topk_prob), None
        )
    router, experts = _unwrapped(original.gate), _unwrapped(original.experts)
    banks = []
    for gate_up, down in zip(experts.gate_up_proj, experts.down_proj, strict=True):
        gate, up = gate_up.chunk(2)
        banks.append(_bank(gate, up, down))
    shared = getattr(original, "shared_expert", None)
    if shared is not None:
        shared = _unwrapped(shared)
        weights = (_unwrapped(getattr(shared, name)).weight for name in ("gate_proj", "up_proj", "down_proj"))
        banks.append(_bank(*weights))
    return tuple(banks), Router(
        W=router.weight.detach(),
        top_k=router.top_k,
        normalises=bool(getattr(router, "norm_topk_prob", True)),
        shared=None if shared is None else _unwrapped(original.shared_expert_gate).weight.detach()[0],
    )


def _bank(gate: Tensor, up: Tensor, down: Tensor) -> NeuronBank:
    """From matrices stored as ``torch.nn.Linear`` does, ``[out, in]``."""
    return NeuronBank(W_in=up.detach().mT, b_in=None, W_gate=gate.detach().mT, b_gate=None, W_out=down.detach().mT)


def _unwrapped(module: Any) -> Any:
    """Hugging Face's own module inside TransformerLens's."""
    while isinstance(original := getattr(module, "original_component", None), torch.nn.Module):
        module = original
    return module


def _norm(parent: Any, name: str, module: str, cfg: Any) -> Norm | None:
    norm = getattr(parent, name, None)
    if norm is None or cfg.normalization_type is None:
        return None
    weight = getattr(norm, "w", None)
    if weight is not None:
        # Gemma stores its weights as an offset from one.
        weight = weight.detach() + 1 if _is_offset(norm, cfg) else weight.detach()
        # Folding leaves ones, as it leaves biases of zero: multiplying by them would only take time.
        weight = None if bool((weight == 1).all()) else weight
    return Norm(
        module=module,
        weight=weight,
        bias=_bias(norm, "b"),
        centers=_centers(norm, cfg),
        eps=_eps(norm, cfg),
    )


def _is_offset(norm: Any, cfg: Any) -> bool:
    told = getattr(norm, "uses_weight_offset", None)
    if told is not None or not hasattr(norm, "uses_rms_norm"):
        return bool(told)
    # The bridge of TransformerLens 3 has it in its config alone.
    return norm.uses_rms_norm and bool(getattr(cfg, "rmsnorm_uses_offset", False))


def _centers(norm: Any, cfg: Any) -> bool:
    # A bridge knows its own kind, which for some models is not that of the config.
    uses_rms = getattr(norm, "uses_rms_norm", None)
    return cfg.normalization_type in ("LN", "LNPre") if uses_rms is None else not uses_rms


def _eps(norm: Any, cfg: Any) -> float:
    original = _unwrapped(norm)
    for name in ("eps", "variance_epsilon"):
        if isinstance(value := getattr(original, name, None), float):
            return value
    return float(cfg.eps)


def _bias(module: Any, name: str) -> Tensor | None:
    """A bias that is all zero explains nothing, and folding leaves many: it counts as absent."""
    bias = getattr(module, name, None)
    if bias is None or not bias.any():
        return None
    return bias.detach()
