"""What each component wrote into the residual stream, as one stack."""

from __future__ import annotations

from einops import einsum
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache import ActivationCache
from recursive_dla.components import Components


def component_outputs(cache: ActivationCache, components: Components) -> Float[Tensor, "src_comp batch pos d_model"]:
    """The output of every component, in writing order; they sum to the final residual stream.

    Heads come from the cached ``z`` and ``W_O``, everything else as it was cached.
    """
    embed = cache.batched("embed")
    stack = embed.new_empty((len(components), *embed.shape))
    for place, component in enumerate(components.all):
        layer = component.layer
        if component.kind == "head":
            # One product fills the row of all heads of a layer.
            if component.head == 0:
                W_O = cache.weights.layers[layer].attention.W_O
                stack[place : place + len(W_O)] = einsum(
                    cache.batched("z", layer), W_O, "b pos head d_head, head d_head d_model -> head b pos d_model"
                )
        elif component.kind == "bias":
            b_O = cache.weights.layers[layer].attention.b_O
            assert b_O is not None  # it is a component only where there is one
            stack[place] = b_O
        elif layer < 0:
            stack[place] = cache.batched(component.kind)
        else:
            stack[place] = cache.batched(f"{component.kind}_out", layer)
    return stack
