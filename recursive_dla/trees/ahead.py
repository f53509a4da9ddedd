"""Children that were computed ahead of the tree, in batches, and wait until it takes them in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recursive_dla.trees.expansion import Children, Expander, SourceLimits

CHILD_COLUMNS = ("code", "pos", "weight", "factor", "row", "sources", "largest")


class Ahead:
    """The children of nodes that are not expanded yet, and the directions that all nodes read along.

    Args:
        expander: What computes them.
        direction: What reads the root's output; it is row 0 of the directions.
        limits: Which sources become children.
    """

    def __init__(self, expander: Expander, direction: Float[Tensor, " d_model"], limits: SourceLimits) -> None:
        self._expander, self._limits = expander, limits
        self._directions = _Rows(direction)
        self._directions.add(direction[None])
        self._families: dict[int, tuple[_Families, int]] = {}

    def __contains__(self, node: int) -> bool:
        return node in self._families

    def __len__(self) -> int:
        return len(self._families)

    def compute(self, nodes: list[int], code: np.ndarray, pos: np.ndarray, row: np.ndarray, factor: np.ndarray) -> None:
        """The children of nodes, in one batch.

        Args:
            nodes: Numbers to :meth:`take` them by.
            code: What each node is.
            pos: Where.
            row: The direction that reads it is this row of all directions,
            factor: times this.
        """
        rows = self._directions[row]
        directions = rows * torch.as_tensor(factor, dtype=rows.dtype, device=rows.device)[:, None]
        for children in self._expander.expand(code, pos, directions, self._limits):
            families = self._side_by_side(children, pos[children.nodes])
            for place, member in enumerate(children.nodes.tolist()):
                self._families[nodes[member]] = (families, place)

    def take(self, node: int) -> list[list[int] | list[float]]:
        """The computed children of a node, by ``CHILD_COLUMNS``; they are not kept."""
        families, place = self._families.pop(node)
        used = families.used[place]
        return [column[place, used].tolist() for column in families.columns]

    def _side_by_side(self, children: Children, pos: np.ndarray) -> _Families:
        """Sources, constants and the rest of each node in one row."""
        vocabulary = self._expander.vocabulary
        n, k = children.weight.shape
        names = list(children.constants)
        constants = [vocabulary.constant(children.layer, name) for name in names]
        if children.directions.ndim == 2:
            first = self._directions.add(children.directions)
            row = np.arange(first, first + n)[:, None].repeat(k, 1)
        else:
            first = self._directions.add(children.directions.flatten(0, 1))
            row = np.arange(first, first + n * k).reshape(n, k)
        weight = children.weight.numpy(force=True).astype(np.float64)
        of_constants = np.empty((n, len(names)))
        for place, name in enumerate(names):
            of_constants[:, place] = children.constants[name].numpy(force=True)
        rest, count = children.rest.numpy(force=True)[:, None], children.n_cut.numpy(force=True)[:, None]

        def filled(value: int, width: int) -> np.ndarray:
            return np.full((n, width), value, dtype=np.int64)

        used = np.concatenate([children.kept.numpy(force=True), of_constants != 0, count > 0], axis=1)
        codes_of_constants = np.array([constants], dtype=np.int64).repeat(n, 0)
        columns = {
            "code": [children.code.numpy(force=True), codes_of_constants, filled(vocabulary.rest, 1)],
            "pos": [children.pos.numpy(force=True), pos[:, None].repeat(len(names), 1), filled(-1, 1)],
            "weight": [weight, of_constants, rest],
            # Constants and the rest are read along nothing.
            "factor": [children.factor.numpy(force=True).astype(np.float64), filled(0, len(names) + 1)],
            "row": [row, filled(0, len(names) + 1)],
            "sources": [filled(1, k + len(names)), count],
            "largest": [
                np.abs(weight),
                np.abs(of_constants),
                children.largest.numpy(force=True).astype(np.float64)[:, None],
            ],
        }
        return _Families(used, tuple(np.concatenate(columns[name], axis=1) for name in CHILD_COLUMNS))


class _Families(NamedTuple):
    """The children of nodes that were expanded together, a node to a row; ``used`` says which there are."""

    used: np.ndarray
    columns: tuple[np.ndarray, ...]


class _Rows:
    """Vectors that are added to and never changed, in one tensor with room to spare."""

    def __init__(self, like: Tensor) -> None:
        self._stored = like.new_empty((256, like.shape[-1]))
        self._used = 0

    def add(self, rows: Float[Tensor, "row d_model"]) -> int:
        """The number of the first of them."""
        first, self._used = self._used, self._used + len(rows)
        if self._used > len(self._stored):
            stored = self._stored.new_empty((max(self._used, 2 * len(self._stored)), self._stored.shape[1]))
            stored[:first] = self._stored[:first]
            self._stored = stored
        self._stored[first : self._used] = rows
        return first

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        return self._stored[torch.as_tensor(rows, device=self._stored.device)]
