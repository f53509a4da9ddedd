"""A breakdown as plain data: numbers by destination and source, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recursive_dla.attribution.targets import Target


class StrongDestination(NamedTuple):
    """A destination, what it contributes, and its largest sources: labels by axis, and the part each has in it."""

    label: str
    total: float
    sources: tuple[tuple[dict[str, str], float], ...]


@dataclass(frozen=True, repr=False)
class BreakdownData:
    """Numbers broken down by source. ``values`` summed over its source axes, plus the constants, is ``totals``.

    Attributes:
        values: One axis for each of ``axes``; logits, positive raises the answer.
        axes: The name and the labels of each axis, in order.
        totals: What is explained, on the axes that are not sources.
        constants: By name, on the same axes as ``totals``: shares of biases, and what the MLP rule left over.
        target: The answers and where they are read.
        tokens: The texts of each prompt's tokens.
    """

    values: Tensor
    axes: dict[str, tuple[str, ...]]
    totals: Tensor
    constants: dict[str, Tensor]
    target: Target
    tokens: tuple[tuple[str, ...], ...] = ()

    def tokens_of(self, prompt: int = 0) -> tuple[str, ...]:
        """The texts of a prompt's tokens; ``(0)``, ``(1)``, … where they are not known."""
        if self.tokens:
            return self.tokens[prompt]
        return tuple(f"({pos})" for pos in self.axes.get("src_pos", ()))

    @property
    def completeness_error(self) -> float:
        """The largest ``|Σ sources + constants − total|``, relative to the largest total."""
        explained = self._explained()
        return float((explained - self.totals).abs().max() / self.totals.abs().max().clamp_min(torch.finfo().tiny))

    def _explained(self) -> Tensor:
        sources = tuple(range(self.totals.ndim, self.values.ndim))
        return self.values.sum(sources) + sum(self.constants.values())

    def strongest(
        self, token: int = 0, prompt: int = 0, *, count: int = 5, sources: int = 3
    ) -> list[StrongDestination]:
        """The destinations with the largest totals, each with its largest sources; sizes are absolute."""
        totals, values = self.totals[token, prompt], self.values[token, prompt]
        names = list(self.axes)
        dest_axes, source_axes = names[2 : self.totals.ndim], names[self.totals.ndim :]
        found = []
        for place in _largest(totals, count):
            here = values[place]
            found.append(
                StrongDestination(
                    label="".join(self.axes[name][i] for name, i in zip(dest_axes, place, strict=True)),
                    total=float(totals[place]),
                    sources=tuple(
                        ({name: self.axes[name][i] for name, i in zip(source_axes, at, strict=True)}, float(here[at]))
                        for at in _largest(here, sources)
                    ),
                )
            )
        return found


def _largest(numbers: Tensor, count: int) -> list[tuple[int, ...]]:
    flat = numbers.flatten().abs().topk(min(count, numbers.numel())).indices
    return [tuple(place) for place in torch.stack(torch.unravel_index(flat, numbers.shape), dim=1).tolist()]
