"""Slices along one dimension, in every form that users write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Union, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from recursive_dla.errors import InputError


@runtime_checkable
class LensSlice(Protocol):
    """TransformerLens's own ``Slice``."""

    slice: Any
    mode: str


SliceInput = Union[
    None, int, np.integer, slice, tuple[int | None, ...], Sequence[int], Tensor, np.ndarray, "Slice", LensSlice
]


class Slice:
    """An index into one dimension.

    ``input_slice`` may be ``None`` (everything), an int (which drops the dimension), ``(stop,)``, ``(start, stop)``,
    ``(start, stop, step)`` or a ``slice``, or a list, array or tensor of indices or of one bool for each place.

    Examples:
        >>> Slice((1, 3)).apply(torch.arange(5))
        tensor([1, 2])
        >>> Slice(-1).apply(torch.arange(6).reshape(2, 3), dim=1)
        tensor([2, 5])
        >>> Slice([0, 2]).indices(5)
        array([0, 2])
    """

    def __init__(self, input_slice: SliceInput = None) -> None:
        self.input_slice: SliceInput = input_slice.input_slice if isinstance(input_slice, Slice) else input_slice
        self._index = _as_index(self.input_slice)

    @property
    def mode(self) -> str:
        """``"empty"``, ``"int"``, ``"slice"`` or ``"array"``."""
        index = self._index
        if isinstance(index, int):
            return "int"
        if isinstance(index, Tensor):
            return "array"
        return "empty" if index == slice(None) else "slice"

    def apply(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """``tensor`` indexed along ``dim``; an int drops that dimension.

        Raises:
            InputError: An index out of range, or bools that are not one for each place.
        """
        index = self._index
        if isinstance(index, Tensor):
            index = index.to(tensor.device)
        dim = dim % tensor.ndim
        try:
            return tensor[(slice(None),) * dim + (index,)]
        except IndexError as error:
            raise InputError(
                f"Index {self.input_slice!r} is out of range for dimension {dim} of a tensor of shape"
                f" {tuple(tensor.shape)}."
            ) from error

    def indices(self, max_ctx: int | None = None) -> np.ndarray:
        """The indices taken from a dimension of size ``max_ctx`` (not needed for an int or a list)."""
        if isinstance(self._index, int):
            return np.array([self._index])
        if max_ctx is not None:
            return self.apply(torch.arange(max_ctx)).numpy()
        if not isinstance(self._index, Tensor):
            raise InputError("`max_ctx` must be given for a slice with open ends. Got None.")
        return self._index.cpu().numpy()

    def kept(self) -> Slice:
        """The same slice, but an int keeps its dimension, with size 1."""
        return Slice([self._index]) if isinstance(self._index, int) else self

    def __repr__(self) -> str:
        return f"Slice({self.input_slice!r})"


def _as_index(given: SliceInput) -> int | slice | Tensor:
    if given is None:
        return slice(None)
    if isinstance(given, slice):
        return _checked(given)
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        return int(given)
    if isinstance(given, tuple):
        if len(given) not in (1, 2, 3):
            raise InputError(
                "A tuple slice is (stop,), (start, stop) or (start, stop, step)."
                f" Got {given!r}; use a list for indices."
            )
        return _checked(slice(*given))
    if isinstance(given, (list, range, np.ndarray, Tensor)):
        index = torch.as_tensor(given if isinstance(given, (np.ndarray, Tensor)) else list(given))
        if index.numel() == 0:
            index = index.long()
        if index.is_floating_point() or index.is_complex() or index.ndim > 1:
            raise InputError(f"Indices must be a flat sequence of integers, or of bools. Got {given!r}.")
        if index.dtype == torch.bool:
            if index.ndim == 0:
                raise InputError(f"A slice of bools needs one for each place. Got {given!r}.")
            return index
        return int(index) if index.ndim == 0 else index.long()
    if isinstance(given, LensSlice):
        return _as_index(given.slice)
    raise InputError(f"A slice is None, an int, a tuple, a slice, or indices. Got {type(given).__name__}: {given!r}.")


def _checked(given: slice) -> slice:
    if given.step is not None and given.step < 1:
        raise InputError(f"The step of a slice must be at least 1. Got {given!r}; for a reversed order give a list.")
    return given


EVERYTHING = Slice()
