"""Does the cache hold what the model's weights say it should? The identities every attribution rests on, verified.

Each vector identity is tested along one random direction (Freivalds' check): instead of multiplying by a weight matrix,
the direction is pulled back through it once, so the whole costs a matrix-vector product per weight matrix, about a
fifth of a forward pass at fifteen tokens and less at more. An error of relative size ``e`` shows as one of about ``e``,
and goes unseen only if it is orthogonal to the direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import einsum, repeat
from torch import Tensor

from recursive_dla.cache.activations import Activations
from recursive_dla.cache.fingerprints import Fingerprint
from recursive_dla.cache.hook_names import LOGITS
from recursive_dla.cache.neuron_inputs import mlp_stream, neuron_inputs, neuron_outputs
from recursive_dla.cache.norms import norm_output, pull_back_norm
from recursive_dla.errors import CacheError
from recursive_dla.model.weights import Attention, Layer, Norm

# Largest error relative to the size of what is summed. float64 leaves room for norms that Hugging Face's models compute
# in float32 whatever their dtype.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 2e-2}
_PADDED = (
    "Padding on the left with an attention_mask is the likely cause: of some models, TransformerLens computes NaN where"
    " a padding token sees nothing. Pad on the right and give each prompt's last position as `pos`, or run prompts of"
    " different lengths one by one."
)


class Identity(NamedTuple):
    """One verified identity: where, which activation it is about, what it says, and its relative error."""

    layer: int | None
    activation: str
    statement: str
    error: float


@dataclass(frozen=True)
class CheckReport:
    """All identities of one cache, with the worst error of each kind in the printed form."""

    identities: tuple[Identity, ...]
    tolerance: float

    @property
    def failed(self) -> tuple[Identity, ...]:
        # Written so that a NaN error fails.
        return tuple(identity for identity in self.identities if not identity.error <= self.tolerance)

    def __str__(self) -> str:
        worst: dict[str, Identity] = {}
        for identity in self.identities:
            kept = worst.get(identity.statement)
            if kept is None or not identity.error <= kept.error:
                worst[identity.statement] = identity
        rows = [
            f"  {identity.error:8.1e}  {statement}" + ("" if identity.layer is None else f"  (layer {identity.layer})")
            for statement, identity in worst.items()
        ]
        verdict = "holds" if not self.failed else f"FAILS {len(self.failed)} of"
        return "\n".join([f"Cache {verdict} {len(self.identities)} identities; worst relative errors:", *rows])


@torch.no_grad()
def check(cache: Activations) -> CheckReport:
    """Verify that the cache and its model belong together and that attribution's identities hold.

    Residual stream = sum of its writers; norm scales = those of the cached stream; ``z = A v``; attention output, MLP
    pre-activations and MLP output = the weights applied; final logits reproduced, if they were cached.

    Returns:
        The report, with every identity's error.

    Raises:
        CacheError: Activations are missing, have the wrong shape, or break an identity; the first is named.
    """
    cache.forget_model()
    _check_shapes(cache)
    errors = list(_identities(cache))
    values = torch.stack([error.double() for *_, error in errors]).tolist()
    identities = tuple(
        Identity(layer, name, statement, value)
        for (layer, name, statement, _), value in zip(errors, values, strict=True)
    )
    report = CheckReport(identities, TOLERANCE[cache["resid_post", 0].dtype])
    if report.failed:
        layer, name, statement, error = report.failed[0]
        where = f"{name}{'' if layer is None else f' of layer {layer}'}"
        if error != error:
            raise CacheError(f"The cache does not fit the model: {where} is not finite in `{statement}`. {_PADDED}")
        raise CacheError(
            f"The cache does not fit the model: {where} is off by {error:.1e} (relative) in `{statement}`. Cache and"
            " model must come from the same forward pass of an unchanged model; check=False goes on regardless."
        )
    return report


def ensure_checked(cache: Activations) -> None:
    """Run :func:`check` unless this cache passed it before; whether it was changed since, ``as_cache`` has looked."""
    if cache.verified is None:
        check(cache)
        cache.verified = Fingerprint(cache)


def _check_shapes(cache: Activations) -> None:
    weights = cache.weights
    n_cached = len({name.split(".")[1] for name in cache.cache_dict if name.startswith("blocks.")})
    embed = cache.batched("embed")
    pattern = cache.batched("pattern", 0)
    found = {
        "layers": (n_cached, weights.n_layers),
        "d_model": (embed.shape[-1], weights.d_model),
        "heads": (pattern.shape[-3], weights.n_heads),
        "positions": (pattern.shape[-1], embed.shape[-2]),
    }
    for what, (got, expected) in found.items():
        if got != expected:
            raise CacheError(
                f"The cache does not fit the model {weights.name}: it has {got} {what} where {expected} are expected."
                " Use the cache of the same model's own run_with_cache."
            )
    cache.ensure_same_place()


def _identities(cache: Activations) -> Iterator[tuple[int | None, str, str, Tensor]]:
    weights = cache.weights
    written = [cache.batched("embed")] + ([cache.batched("pos_embed")] if weights.has_pos_embed else [])
    for index, layer in enumerate(weights.layers):
        stream, after = cache.batched("resid_pre", index), cache.batched("resid_post", index)
        yield index, "hook_resid_pre", "resid_pre = what was written before", _vector_error(stream, *written)
        for name, statement, error in _layer_identities(cache, index, layer, stream, after):
            yield index, name, statement, error
        written = [after]
    if weights.final_norm is not None:
        error = _scale_error(after, cache.norm_scale(weights.final_norm), weights.final_norm)
        yield None, "ln_final.hook_scale", _SCALE, error
    for name in LOGITS:
        if name in cache.cache_dict:
            yield None, name, "logits = norm(resid_post) W_U + b_U", _logits_error(cache, after, cache.batched(name))
            break


_SCALE = "scale = the norm's of the stream"


def _layer_identities(
    cache: Activations, index: int, layer: Layer, stream: Tensor, after: Tensor
) -> Iterator[tuple[str, str, Tensor]]:
    attn_out = cache.batched("attn_out", index)
    yield from _attention_identities(cache, index, layer.attention, stream, attn_out)
    if layer.mlp is None:
        yield "hook_resid_post", "resid_post = resid_pre + attn_out", _vector_error(after, stream, attn_out)
        return
    mlp_out = cache.batched("mlp_out", index)
    if not layer.parallel:
        middle = cache.batched("resid_mid", index)
        yield "hook_resid_mid", "resid_mid = resid_pre + attn_out", _vector_error(middle, stream, attn_out)
    yield from _mlp_identities(cache, index, layer, mlp_out)
    error = _vector_error(after, stream, attn_out, mlp_out)
    yield "hook_resid_post", "resid_post = resid_pre + attn_out + mlp_out", error


def _attention_identities(
    cache: Activations, index: int, attention: Attention, stream: Tensor, attn_out: Tensor
) -> Iterator[tuple[str, str, Tensor]]:
    scale = cache.norm_scale(attention.norm)
    if attention.norm is not None:
        yield f"{attention.norm.name}.hook_scale", _SCALE, _scale_error(stream, scale, attention.norm)
    z = cache.batched("z", index)
    pattern = cache.batched("pattern", index)
    kv_heads, _, d_head = attention.W_V.shape
    direction = _direction(d_head, z)
    values = _through_norm(stream, scale, attention.norm, attention.W_V @ direction)
    if attention.b_V is not None:
        values = values + attention.b_V @ direction
    values = repeat(values, "... kv_head -> ... (kv_head group)", group=z.shape[-2] // kv_heads)
    mixed = einsum(pattern, values, "b head query key, b key head -> b query head")
    size = einsum(pattern.abs(), values.abs(), "b head query key, b key head -> b query head") + z.norm(dim=-1)
    yield "attn.hook_z", "z = A v", _worst(mixed - z @ direction, size)

    direction, g = _before_norm(cache, attention.out_norm, attn_out)
    if attention.out_norm is None:
        written = einsum(z, attention.W_O @ direction, "b pos head d_head, head d_head -> b pos")
    else:
        written = einsum(z, attention.W_O, g, "b pos head d_head, head d_head d_model, b pos d_model -> b pos")
    if attention.b_O is not None:
        written = written + g @ attention.b_O
    yield "hook_attn_out", "attn_out = z W_O + b_O", _worst(written - attn_out @ direction, attn_out.norm(dim=-1))


def _mlp_identities(cache: Activations, index: int, layer: Layer, mlp_out: Tensor) -> Iterator[tuple[str, str, Tensor]]:
    mlp = layer.mlp
    assert mlp is not None
    stream, scale = mlp_stream(cache, index, layer), cache.norm_scale(mlp.norm)
    if mlp.norm is not None and mlp.norm is not layer.attention.norm:
        yield f"{mlp.norm.name}.hook_scale", _SCALE, _scale_error(stream, scale, mlp.norm)
    inputs = neuron_inputs(cache, index, layer)
    if mlp.router is None:
        bank = mlp.neurons
        pairs = [("pre", inputs[0].pre, bank.W_in, bank.b_in)]
        if bank.W_gate is not None and inputs[0].pre_linear is not None:
            pairs = [
                ("pre", inputs[0].pre, bank.W_gate, bank.b_gate),
                ("pre_linear", inputs[0].pre_linear, bank.W_in, bank.b_in),
            ]
        for name, cached, weight, bias in pairs:
            direction = _direction(cached.shape[-1], cached)
            computed = _through_norm(stream, scale, mlp.norm, (weight @ direction)[None])[..., 0]
            if bias is not None:
                computed = computed + bias @ direction
            error = _worst(computed - cached @ direction, cached.norm(dim=-1))
            yield f"mlp.hook_{name}", f"{name} = norm(stream) W + b", error
    direction, g = _before_norm(cache, mlp.out_norm, mlp_out)
    written = torch.zeros_like(mlp_out[..., 0])
    for bank, given in zip(mlp.banks, inputs, strict=True):
        post = neuron_outputs(mlp, given)
        if mlp.out_norm is None:
            written = written + post @ (bank.W_out @ direction)
        else:
            written = written + (post @ bank.W_out * g).sum(-1)
    if mlp.b_out is not None:
        written = written + g @ mlp.b_out
    yield (
        "hook_mlp_out",
        "mlp_out = act(pre) W_out + b_out",
        _worst(written - mlp_out @ direction, mlp_out.norm(dim=-1)),
    )


def _logits_error(cache: Activations, stream: Tensor, cached: Tensor) -> Tensor:
    """At some sixteen tokens of the vocabulary."""
    weights = cache.weights
    step = max(1, weights.d_vocab // 16)
    read = norm_output(stream, weights.final_norm, cache.norm_scale(weights.final_norm))
    logits = read @ weights.W_U[:, ::step].to(read.dtype)
    if weights.b_U is not None:
        logits = logits + weights.b_U[::step]
    return _worst((logits - cached[..., ::step]).norm(dim=-1), cached[..., ::step].norm(dim=-1))


def _before_norm(cache: Activations, norm: Norm | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """A direction that reads a sublayer's output, and the same before the norm it ends in, at every position."""
    direction = _direction(like.shape[-1], like)
    if norm is None:
        return direction, direction
    return direction, pull_back_norm(direction, norm, cache.norm_scale(norm))


def _through_norm(x: Tensor, scale: Tensor, norm: Norm | None, directions: Tensor) -> Tensor:
    """``N(x)`` read along each of ``directions [n, d_model]``: ``[..., n]``."""
    read = x @ pull_back_norm(directions, norm).mT / scale
    return read if norm is None or norm.bias is None else read + directions @ norm.bias


def _direction(size: int, like: Tensor) -> Tensor:
    """A fixed pseudo-random direction, the same on every run, whose dot product with a vector is about its norm."""
    generator = torch.Generator().manual_seed(size)
    return torch.randn(size, generator=generator, dtype=torch.float64).to(like.device, like.dtype)


def _scale_error(stream: Tensor, scale: Tensor, norm: Norm) -> Tensor:
    x = stream.to(scale.dtype)
    if norm.centers:
        x = x - x.mean(-1, keepdim=True)
    expected = (x.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt()
    return _worst((expected - scale)[..., 0], scale[..., 0])


def _vector_error(total: Tensor, *parts: Tensor) -> Tensor:
    size = torch.stack([part.norm(dim=-1) for part in (total, *parts)]).sum(0)
    return _worst((total - sum(parts)).norm(dim=-1), size)


def _worst(difference: Tensor, size: Tensor) -> Tensor:
    """The largest relative error; NaN if anything is."""
    return (difference.abs() / size.abs().clamp_min(torch.finfo(size.dtype).tiny)).max()
