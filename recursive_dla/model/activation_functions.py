"""Activation functions by name: the function, its slope from zero ``act(x) / x`` in closed form, its derivative.

The slope is never computed by division, so it is exact at and near zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recursive_dla.errors import UnsupportedModelError

_TANH_SCALE = math.sqrt(2 / math.pi)
# BLOOM's own code rounds it, which shows in float64.
_BLOOM_TANH_SCALE = 0.79788456


@dataclass(frozen=True)
class Activation:
    """An elementwise function with ``act(0) = 0``, so that ``act(x) = slope(x) * x``."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]

    def derivative(self, x: Tensor) -> Tensor:
        """``act'(x)``, by automatic differentiation of :attr:`function`."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            return torch.autograd.grad(self.function(leaf).sum(), leaf)[0]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _tanh_slope(x: Tensor, scale: float) -> Tensor:
    return 0.5 * (1 + torch.tanh(scale * (x + 0.044715 * x**3)))


_GELU = Activation(F.gelu, torch.special.ndtr)
_GELU_TANH = Activation(_gelu_tanh, lambda x: _tanh_slope(x, _TANH_SCALE))
_SILU = Activation(F.silu, torch.sigmoid)

ACTIVATIONS: dict[str, Activation] = {
    "gelu": _GELU,
    "gelu_new": _GELU_TANH,
    "gelu_fast": _GELU_TANH,
    "gelu_pytorch_tanh": _GELU_TANH,
    "gelu_bloom": Activation(
        lambda x: x * _tanh_slope(x, _BLOOM_TANH_SCALE), lambda x: _tanh_slope(x, _BLOOM_TANH_SCALE)
    ),
    "quick_gelu": Activation(lambda x: x * torch.sigmoid(1.702 * x), lambda x: torch.sigmoid(1.702 * x)),
    "silu": _SILU,
    "swish": _SILU,
    "relu": Activation(torch.relu, lambda x: (x > 0).to(x.dtype)),
}


def activation(name: str) -> Activation:
    """The activation called ``name``.

    Raises:
        UnsupportedModelError: No activation of that name is known here.

    Example:
        >>> activation("silu").slope(torch.tensor([0.0]))
        tensor([0.5000])
    """
    try:
        return ACTIVATIONS[name]
    except KeyError:
        raise UnsupportedModelError(
            f"The activation {name!r} is not supported. Supported: {', '.join(ACTIVATIONS)}."
        ) from None
