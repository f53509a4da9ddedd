"""Norms with their scale frozen at its cached value: linear maps of the residual stream, forward and back.

``N(x) = weight ⊙ (C x) / scale + bias``. Its linear part, applied to pieces that sum to the stream, gives pieces that
sum to what the norm puts out less the bias. Sums are taken in float32 at least, whatever the activations are kept in.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from recursive_dla.model.weights import Norm


def precise(*dtypes: torch.dtype) -> torch.dtype:
    """The type to compute in: what the given ones promote to, and float32 at least."""
    found = torch.float32
    for dtype in dtypes:
        found = torch.promote_types(found, dtype)
    return found


def apply_norm(
    x: Float[Tensor, "*any d_model"], norm: Norm | None, scale: Tensor | None, *, in_place: bool = False
) -> Float[Tensor, "*any_or_scale d_model"]:
    """The linear part of a frozen norm, ``weight ⊙ (C x) / scale``: its bias is not added.

    Args:
        x: Vectors.
        norm: The norm; ``x`` as it is where there is none.
        scale: Its cached scale, ``[..., 1]``, which may have more axes than ``x``.
        in_place: Whether ``x`` may be overwritten.
    """
    if norm is None or scale is None:
        return x
    kept = torch.promote_types(x.dtype, scale.dtype)
    y = x.to(precise(kept))
    own = in_place or y is not x
    if norm.centers:
        mean = y.mean(-1, keepdim=True)
        y = y.sub_(mean) if own else y - mean
        own = True
    # Weight and scale become one factor, no larger than one component: a stack is gone over once.
    factor = scale.to(y.dtype).reciprocal()
    if norm.weight is not None:
        factor = factor * norm.weight
    y = y.mul_(factor) if own and y.ndim >= factor.ndim else y * factor
    return x.copy_(y) if in_place and y is not x else y.to(kept)


def norm_output(
    x: Float[Tensor, "*any d_model"], norm: Norm | None, scale: Tensor
) -> Float[Tensor, "*any_or_scale d_model"]:
    """What a frozen norm puts out: :func:`apply_norm`, and its bias."""
    y = apply_norm(x, norm, scale)
    return y if norm is None or norm.bias is None else y + norm.bias


def pull_back_norm(
    g: Float[Tensor, "*any d_model"], norm: Norm | None, scale: Tensor | None = None
) -> Float[Tensor, "*any_or_scale d_model"]:
    """A direction that reads a norm's output, as one that reads its input: ``C^T (weight ⊙ g) / scale``.

    Without ``scale`` still to be divided by it, where that is cheaper later.
    """
    if norm is None:
        return g
    if norm.weight is not None:
        g = g * norm.weight
    if norm.centers:
        g = g - g.mean(-1, keepdim=True)
    return g if scale is None else g / scale


def normalise_by_itself(x: Float[Tensor, "*any d_model"], norm: Norm | None) -> Float[Tensor, "*any d_model"]:
    """A norm as the model applies it: each vector by its own statistics, with the norm's weight and bias."""
    if norm is None:
        return x
    y = x.to(precise(x.dtype))
    weight, bias = (None if part is None else part.to(y.dtype) for part in (norm.weight, norm.bias))
    if norm.centers:
        return torch.nn.functional.layer_norm(y, y.shape[-1:], weight, bias, norm.eps).to(x.dtype)
    mean_square = torch.linalg.vector_norm(y, dim=-1, keepdim=True).square() / y.shape[-1]
    y = y * (mean_square + norm.eps).rsqrt()
    if weight is not None:
        y = y.mul_(weight)
    return (y if bias is None else y + bias).to(x.dtype)
