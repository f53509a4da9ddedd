"""Reading the components of a stack: through a frozen norm, along directions, or both.

Reading is linear, so what it gives for pieces adds up to what it gives for their sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache.norms import apply_norm, precise, pull_back_norm
from recursive_dla.errors import InputError
from recursive_dla.model.weights import Norm

# How many numbers of a half-precision stack are widened at once.
_CHUNK = 2**24


def along(x: Float[Tensor, "component *batch_and_pos d_model"], directions: Tensor) -> Tensor:
    """The dot products of vectors with directions, ``[component *batch_and_pos direction]``.

    Args:
        x: The vectors.
        directions: ``[direction d_model]``, or a set of them at each place, ``[*batch_and_pos direction d_model]``.
    """
    dtype = precise(x.dtype, directions.dtype)
    if x.dtype != dtype and x.numel() > _CHUNK:
        return torch.cat([along(part, directions) for part in x.split(max(1, _CHUNK // x[0].numel()))])
    x, directions = x.to(dtype), directions.to(dtype)
    if directions.ndim == 2:
        return (x @ directions[0])[..., None] if len(directions) == 1 else x @ directions.mT
    return einsum(x, directions, "component ... d_model, ... direction d_model -> component ... direction")


@dataclass(frozen=True)
class Reader:
    """How every component of one stack is read.

    Attributes:
        norm: The norm it is read through.
        scale: The norm's scale, ``[*batch_and_pos 1]``; ``None`` if it is not read through a norm.
        directions: ``[direction d_model]`` or ``[*batch_and_pos direction d_model]``, already pulled back through the
            norm; ``None`` if the whole vector is kept.
        dtype: Of what is read.
        one: Whether there is one direction, whose axis the result does not keep.
    """

    norm: Norm | None
    scale: Tensor | None
    directions: Tensor | None
    dtype: torch.dtype
    one: bool = False

    def width(self, d_model: int) -> int:
        """The size of the last axis of what is read."""
        return d_model if self.directions is None else self.directions.shape[-2]

    def read(self, x: Tensor, out: Tensor) -> None:
        """Read vectors ``[component *batch_and_pos d_model]`` into ``out``."""
        if self.directions is None:
            self.finish(out.copy_(x))
        else:
            self.put(along(x, self.directions), out)

    def finish(self, vectors: Tensor) -> None:
        """Put whole vectors through the norm, in place."""
        apply_norm(vectors, self.norm, self.scale, in_place=True)

    def put(self, products: Tensor, out: Tensor) -> None:
        """Write dot products with the directions to ``out``."""
        out.copy_(products if self.scale is None else products / self.scale)


def reader(
    dtype: torch.dtype, norm: Norm | None, scale: Tensor | None, project_onto: Tensor | None, d_model: int
) -> Reader:
    """How to read a stack through a norm (if ``scale`` is given) and along ``project_onto`` (if that is given).

    Raises:
        InputError: ``project_onto`` is not ``[d_model]`` or ``[d_model direction]``.
    """
    if norm is None:
        scale = None
    if scale is not None:
        dtype = torch.promote_types(dtype, scale.dtype)
    if project_onto is None:
        return Reader(norm, scale, None, dtype)
    if project_onto.ndim not in (1, 2) or project_onto.shape[0] != d_model or not project_onto.is_floating_point():
        raise InputError(
            f"`project_onto` must hold floats, [d_model]=({d_model},) or [d_model, direction]=({d_model}, n)."
            f" Got {project_onto.dtype} of shape {tuple(project_onto.shape)}."
        )
    rows = (project_onto[:, None] if project_onto.ndim == 1 else project_onto).mT
    # Dot products are sums, and few enough to be kept as they are.
    dtype = precise(dtype, project_onto.dtype)
    return Reader(norm, scale, _pulled_back(rows, norm, scale), dtype, one=project_onto.ndim == 1)


def reader_at_each_place(dtype: torch.dtype, norm: Norm | None, scale: Tensor | None, directions: Tensor) -> Reader:
    """The same along one direction at each place, ``[*batch_and_pos d_model]``."""
    dtype = precise(dtype, directions.dtype, *([] if scale is None else [scale.dtype]))
    return Reader(norm, scale, _pulled_back(directions[..., None, :], norm, scale), dtype, one=True)


def _pulled_back(directions: Tensor, norm: Norm | None, scale: Tensor | None) -> Tensor:
    directions = directions.to(precise(directions.dtype))
    return directions if scale is None else pull_back_norm(directions, norm)
