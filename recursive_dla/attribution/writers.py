"""What each component wrote into the residual stream, as one stack."""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.components import Components
from recursive_dla.attribution.pullback import apply_norm, head_results
from recursive_dla.cache.activation_cache import ActivationCache
from recursive_dla.cache.neuron_inputs import norm_scale


def component_outputs(
    cache: ActivationCache, components: Components, n_pos: int | None = None
) -> Float[Tensor, "src_comp batch pos d_model"]:
    """The output of every component, in writing order; they sum to the final residual stream.

    Heads come from the cached ``z`` and ``W_O``, everything else as it was cached. In memory, the components of a
    position are neighbours: what is written before a point is one stretch for each position.

    Args:
        cache: The activations.
        components: Whose outputs.
        n_pos: At how many positions, from the first; all of them by default.
    """
    here = slice(n_pos)
    embed = cache.batched("embed")[:, here]
    stack = rearrange(
        embed.new_empty((*embed.shape[:2], len(components), embed.shape[2])),
        "b pos src_comp d_model -> src_comp b pos d_model",
    )
    layers = cache.weights.layers
    for place, component in enumerate(components.all):
        kind, layer = component.kind, component.layer
        if layer < 0:
            stack[place] = cache.batched(kind)[:, here]
        elif kind in ("mlp", "attn"):
            stack[place] = cache.batched(f"{kind}_out", layer)[:, here]
        elif kind == "bias":
            attention = layers[layer].attention
            assert attention.b_O is not None  # it is a component only where there is one
            out_scale = norm_scale(cache, attention.out_norm)[:, here]
            stack[place] = apply_norm(attention.b_O, attention.out_norm, out_scale)
        elif component.head == 0:
            # One product fills the rows of all heads of a layer.
            attention = layers[layer].attention
            out_scale = norm_scale(cache, attention.out_norm)[:, here]
            results = head_results(cache.batched("z", layer)[:, here], attention, out_scale)
            stack[place : place + len(results)] = results
    return stack
