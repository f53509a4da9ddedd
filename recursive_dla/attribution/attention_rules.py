"""Attention rules: what is read of a head's ``z``, as what is read of its values, its queries and its keys.

A head puts out ``z = A v``, its values weighted by the pattern ``A``, which its queries and keys make. Each rule is a
plain function that says how a direction goes back through that. To add one, write such a function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from einops import einsum
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache.activations import Activations
from recursive_dla.model.weights import Layer


class HeadReads(NamedTuple):
    """What reads what a layer's heads are made of; ``None`` where nothing does.

    ``at_values`` reads their values, ``at_queries`` and ``at_keys`` the products of the normalised stream with ``W_Q``
    and ``W_K``.
    """

    at_values: Float[Tensor, "batch pos head d_head"]
    at_queries: Float[Tensor, "batch pos head d_head"] | None = None
    at_keys: Float[Tensor, "batch pos kv_head d_head"] | None = None


AttentionRule = Callable[[Activations, int, Layer, Tensor], HeadReads]


def frozen(cache: Activations, index: int, layer: Layer, at_z: Float[Tensor, "batch query head d_head"]) -> HeadReads:
    """The pattern is a constant: ``A^T r`` reads the values, and nothing is read of queries and keys. Exact.

    Args:
        cache: The activations.
        index: Which layer.
        layer: Its weights.
        at_z: What reads each head's ``z``, at the first positions.
    """
    here = slice(at_z.shape[1])
    pattern = cache.batched("pattern", index)[..., here, here]
    return HeadReads(einsum(pattern, at_z, "b head query key, b query head d_head -> b key head d_head"))
