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

from recursive_dla.activations import activation
from recursive_dla.adapters import MLP, Attention, Norm
from recursive_dla.cache import ActivationCache
from recursive_dla.errors import CacheError
from recursive_dla.linear import apply_norm, pull_back_norm

# Largest error relative to the size of what is summed. float64 leaves room for norms that Hugging Face's models compute
# in float32 whatever their dtype.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 2e-2}


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
def check(cache: ActivationCache) -> CheckReport:
    """Verify that ``cache`` and its model belong together and that attribution's identities hold.

    Residual stream = sum of its writers; norm scales = those of the cached stream; ``z = A v``; attention output, MLP
    pre-activations and MLP output = the weights applied; final logits reproduced, if they were cached.

    Returns:
        The report, with every identity's error.

    Raises:
        CacheError: Activations are missing, have the wrong shape, or break an identity; the first is named.
    """
    _check_shapes(cache)
    errors = list(_identities(cache))
    values = torch.stack([error.double() for *_, error in errors]).tolist()
    identities = tuple(
        Identity(layer, name, statement, value)
        for (layer, name, statement, _), value in zip(errors, values, strict=True)
    )
    report = CheckReport(identities, TOLERANCE[cache.batched("resid_post", 0).dtype])
    if report.failed:
        layer, name, statement, error = report.failed[0]
        problem = "is not finite" if error != error else f"is off by {error:.1e} (relative)"
        raise CacheError(
            f"The cache does not fit the model: {name}{'' if layer is None else f' of layer {layer}'} {problem} in"
            f" `{statement}`. Cache and model must come from the same forward pass of an unchanged model;"
            " check=False goes on regardless."
        )
    return report


def ensure_checked(cache: ActivationCache) -> None:
    """Run :func:`check` unless this cache passed it before and no activation was written to since."""
    versions = _versions(cache)
    if versions is None or cache.verified_versions != versions:
        check(cache)
        cache.verified_versions = versions


def _versions(cache: ActivationCache) -> int | None:
    """Counts in-place writes to the activations; ``None`` for inference tensors, which do not keep count."""
    tensors = cache.cache_dict.values()
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return sum(tensor._version for tensor in tensors)


def _check_shapes(cache: ActivationCache) -> None:
    weights = cache.weights
    n_cached = sum(name.endswith("hook_resid_post") for name in cache.cache_dict)
    embed = cache.batched("embed")
    scale = cache.batched("scale")
    pattern = cache.batched("pattern", 0)
    found = {
        "layers": (n_cached, weights.n_layers),
        "d_model": (embed.shape[-1], weights.d_model),
        "heads": (pattern.shape[-3], weights.n_heads),
        "positions": (pattern.shape[-1], scale.shape[-2]),
    }
    for what, (got, expected) in found.items():
        if got != expected:
            raise CacheError(
                f"The cache does not fit the model {weights.name}: it has {got} {what} where {expected} are expected."
                " Use the cache of the same model's own run_with_cache."
            )
    if embed.device != weights.device:
        raise CacheError(
            f"The cache is on {embed.device} and the model on {weights.device}. "
            f"Move one: cache.to({str(weights.device)!r})."
        )


def _identities(cache: ActivationCache) -> Iterator[tuple[int | None, str, str, Tensor]]:
    weights = cache.weights
    written = [cache.batched("embed")] + ([cache.batched("pos_embed")] if weights.has_pos_embed else [])
    for index, layer in enumerate(weights.layers):
        stream, attn_out = cache.batched("resid_pre", index), cache.batched("attn_out", index)
        yield index, "hook_resid_pre", "resid_pre = what was written before", _vector_error(stream, *written)
        after_mlp = cache.batched("resid_post", index)
        written = [after_mlp]
        for name, statement, error in _attention_identities(cache, index, layer.attention, stream, attn_out):
            yield index, name, statement, error
        if layer.mlp is None:
            yield (
                index,
                "hook_resid_post",
                "resid_post = resid_pre + attn_out",
                _vector_error(after_mlp, stream, attn_out),
            )
            continue
        middle, mlp_out = cache.batched("resid_mid", index), cache.batched("mlp_out", index)
        yield index, "hook_resid_mid", "resid_mid = resid_pre + attn_out", _vector_error(middle, stream, attn_out)
        for name, statement, error in _mlp_identities(cache, index, layer.mlp, middle, mlp_out):
            yield index, name, statement, error
        yield index, "hook_resid_post", "resid_post = resid_mid + mlp_out", _vector_error(after_mlp, middle, mlp_out)

    scale = cache.batched("scale")
    yield (
        None,
        "ln_final.hook_scale",
        "scale = the norm's of the stream",
        _scale_error(after_mlp, scale, weights.final_norm),
    )
    for name in ("unembed.hook_out", "hook_unembed"):
        if name in cache.cache_dict:
            step = max(1, weights.d_vocab // 16)
            read = apply_norm(after_mlp, weights.final_norm, scale)
            if weights.final_norm.bias is not None:
                read = read + weights.final_norm.bias
            logits = read @ weights.W_U[:, ::step]
            if weights.b_U is not None:
                logits = logits + weights.b_U[::step]
            cached = cache.batched(name)[..., ::step]
            yield (
                None,
                name,
                "logits = norm(resid_post) W_U + b_U",
                _worst((logits - cached).norm(dim=-1), cached.norm(dim=-1)),
            )
            break


def _attention_identities(
    cache: ActivationCache, index: int, attention: Attention, stream: Tensor, attn_out: Tensor
) -> Iterator[tuple[str, str, Tensor]]:
    scale = cache.batched("scale", index, "ln1")
    yield "ln1.hook_scale", "scale = the norm's of the stream", _scale_error(stream, scale, attention.norm)
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

    direction = _direction(attn_out.shape[-1], attn_out)
    written = einsum(z, attention.W_O @ direction, "b pos head d_head, head d_head -> b pos")
    if attention.b_O is not None:
        written = written + attention.b_O @ direction
    yield "hook_attn_out", "attn_out = z W_O + b_O", _worst(written - attn_out @ direction, attn_out.norm(dim=-1))


def _mlp_identities(
    cache: ActivationCache, index: int, mlp: MLP, middle: Tensor, mlp_out: Tensor
) -> Iterator[tuple[str, str, Tensor]]:
    scale = cache.batched("scale", index, "ln2")
    yield "ln2.hook_scale", "scale = the norm's of the stream", _scale_error(middle, scale, mlp.norm)
    pre = cache.batched("pre", index)
    direction = _direction(pre.shape[-1], pre)
    inputs = [("pre", pre, mlp.W_in, mlp.b_in)]
    post = activation(mlp.activation).function(pre)
    if mlp.W_gate is not None:
        up = cache.batched("pre_linear", index)
        inputs = [("pre", pre, mlp.W_gate, mlp.b_gate), ("pre_linear", up, mlp.W_in, mlp.b_in)]
        post = post * up
    for name, cached, weight, bias in inputs:
        computed = _through_norm(middle, scale, mlp.norm, (weight @ direction)[None])[..., 0]
        if bias is not None:
            computed = computed + bias @ direction
        yield (
            f"mlp.hook_{name}",
            f"{name} = norm(resid_mid) W + b",
            _worst(computed - cached @ direction, cached.norm(dim=-1)),
        )
    direction = _direction(mlp_out.shape[-1], mlp_out)
    written = post @ (mlp.W_out @ direction)
    if mlp.b_out is not None:
        written = written + mlp.b_out @ direction
    yield (
        "hook_mlp_out",
        "mlp_out = act(pre) W_out + b_out",
        _worst(written - mlp_out @ direction, mlp_out.norm(dim=-1)),
    )


def _through_norm(x: Tensor, scale: Tensor, norm: Norm, directions: Tensor) -> Tensor:
    """``N(x)`` read along each of ``directions [n, d_model]``: ``[..., n]``."""
    read = x @ pull_back_norm(directions, norm).mT / scale
    return read if norm.bias is None else read + directions @ norm.bias


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
