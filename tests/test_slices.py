"""Slices: every form picks the positions it says, along any dimension."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.utilities.slice import Slice as LensSlice

from recursive_dla.cache.slices import Slice
from recursive_dla.errors import InputError

# Form, its mode, and the positions it takes of seven.
FORMS: list[tuple[Any, str, list[int]]] = [
    (None, "empty", [0, 1, 2, 3, 4, 5, 6]),
    (slice(None), "empty", [0, 1, 2, 3, 4, 5, 6]),
    (3, "int", [3]),
    (-2, "int", [5]),
    (np.int64(4), "int", [4]),
    (torch.tensor(1), "int", [1]),
    (np.array(2), "int", [2]),
    ((3,), "slice", [0, 1, 2]),
    ((1, 4), "slice", [1, 2, 3]),
    ((None, 2), "slice", [0, 1]),
    ((-3, 6), "slice", [4, 5]),
    ((0, 6, 2), "slice", [0, 2, 4]),
    (slice(2, None), "slice", [2, 3, 4, 5, 6]),
    (slice(None, None, 3), "slice", [0, 3, 6]),
    (slice(5, 50), "slice", [5, 6]),
    ([0, 5, 2], "array", [0, 5, 2]),
    ([-1], "array", [6]),
    ([], "array", []),
    (range(1, 6, 2), "array", [1, 3, 5]),
    (np.array([6, 6]), "array", [6, 6]),
    (torch.tensor([3, 1], dtype=torch.int32), "array", [3, 1]),
    (np.array([True, False, False, True, False, True, False]), "array", [0, 3, 5]),
    (torch.tensor([False, True] + [False] * 5), "array", [1]),
    (Slice((1, 3)), "slice", [1, 2]),
    (LensSlice((2, 4)), "slice", [2, 3]),
    (LensSlice([3, 0]), "array", [3, 0]),
    (LensSlice(), "empty", [0, 1, 2, 3, 4, 5, 6]),
    (Slice(Slice(2)), "int", [2]),
]


@pytest.mark.parametrize(("form", "mode", "positions"), FORMS, ids=lambda value: str(value))
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_apply_takes_the_positions_along_the_dimension(form: Any, mode: str, positions: list[int], dim: int) -> None:
    sizes = [2, 3, 5]
    sizes[dim] = 7
    tensor = torch.arange(7 * 2 * 3 * 5).reshape(-1)[: int(np.prod(sizes))].reshape(sizes)
    index = positions[0] if mode == "int" else positions
    expected = np.take(tensor.numpy(), index, axis=dim)
    assert np.array_equal(Slice(form).apply(tensor, dim).numpy(), expected)
    assert Slice(form).mode == mode


@pytest.mark.parametrize(("form", "mode", "positions"), FORMS, ids=lambda value: str(value))
def test_indices_are_the_positions(form: Any, mode: str, positions: list[int]) -> None:
    indices = Slice(form).indices(7)
    assert isinstance(indices, np.ndarray)
    assert (indices % 7).tolist() == positions


def test_indices_need_a_size_only_where_the_form_does_not_tell() -> None:
    assert Slice(-2).indices().tolist() == [-2]
    assert Slice([4, 1]).indices().tolist() == [4, 1]
    for form in (None, (1, 3)):
        with pytest.raises(InputError, match="`max_ctx` must be given"):
            Slice(form).indices()


def test_repr_shows_the_form() -> None:
    assert repr(Slice((1, 3))) == "Slice((1, 3))"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("abc", "A slice is None, an int, .* Got str: 'abc'"),
        (True, "A slice is None, .* Got bool"),
        (1.5, "A slice is None, .* Got float"),
        ((), r"A tuple slice is \(stop,\), \(start, stop\) or \(start, stop, step\)\. Got \(\)"),
        ((1, 2, 3, 4), "A tuple slice is"),
        ((5, 1, -1), r"The step of a slice must be at least 1\. Got slice\(5, 1, -1\)"),
        (slice(None, None, 0), "The step of a slice must be at least 1"),
        ([0.5], "flat sequence of integers"),
        (torch.tensor(True), "bools needs one for each place"),
        (np.zeros((2, 2), dtype=int), "flat sequence of integers"),
    ],
)
def test_what_is_no_slice_is_refused(types_unchecked: None, form: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Slice(form)


@pytest.mark.parametrize("form", [7, -8, [0, 7], torch.tensor([-8]), [True, False, True]])
def test_out_of_range_names_the_shape(form: Any) -> None:
    with pytest.raises(InputError, match=r"out of range for dimension 1 of a tensor of shape \(2, 7\)"):
        Slice(form).apply(torch.zeros(2, 7), dim=-1)
