"""What each component wrote into the residual stream, as one stack."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache import ActivationCache
from recursive_dla.components import Components
from recursive_dla.inputs import norm_scale
from recursive_dla.linear import apply_norm, head_results


def component_outputs(cache: ActivationCache, components: Components) -> Float[Tensor, "src_comp batch pos d_model"]:
    """The output of every component, in writing order; they sum to the final residual stream.

    Heads come from the cached ``z`` and ``W_O``, everything else as it was cached.
    """
    embed = cache.batched("embed")
    stack = embed.new_empty((len(components), *embed.shape))
    for place, component in enumerate(components.all):
        layer = component.layer
        if layer < 0:
            stack[place] = cache.batched(component.kind)
            continue
        attention = cache.weights.layers[layer].attention
        if component.kind == "head":
            # One product fills the rows of all heads of a layer.
            if component.head == 0:
                out_scale = norm_scale(cache, attention.out_norm)
                stack[place : place + len(attention.W_O)] = head_results(
                    cache.batched("z", layer), attention, out_scale
                )
        elif component.kind == "bias":
            assert attention.b_O is not None  # it is a component only where there is one
            stack[place] = apply_norm(attention.b_O, attention.out_norm, norm_scale(cache, attention.out_norm))
        else:
            stack[place] = cache.batched(f"{component.kind}_out", layer)
    return stack
