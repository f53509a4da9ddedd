"""Points of the residual stream, and what is written before each."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache.activations import Activations
from recursive_dla.errors import InputError
from recursive_dla.model.weights import ModelWeights, Norm


class Point(NamedTuple):
    """A point of the residual stream: what a layer's attention reads, what its MLP reads, or (``n_layers``) the end."""

    layer: int
    mlp_input: bool = False

    def norm(self, weights: ModelWeights) -> Norm | None:
        """The norm that reads the stream there."""
        if self.layer == weights.n_layers:
            return weights.final_norm
        layer = weights.stored_layers[self.layer]
        if not self.mlp_input:
            return layer.attention.norm
        return None if layer.mlp is None else layer.mlp.norm

    def attentions(self, weights: ModelWeights) -> int:
        """How many layers' attention was written before it. A parallel block's MLP does not read its attention."""
        return self.layer + (self.mlp_input and not weights.stored_layers[self.layer].parallel)

    def stream(self, cache: Activations) -> Float[Tensor, "*batch_and_pos d_model"]:
        """The residual stream there."""
        if self.layer == cache.weights.n_layers:
            return cache.need("resid_post", self.layer - 1)
        mid = self.mlp_input and not cache.weights.stored_layers[self.layer].parallel
        return cache.need("resid_mid" if mid else "resid_pre", self.layer)


def point_before(weights: ModelWeights, layer: int | None, mlp_input: bool = False) -> Point:
    """The point that ``layer`` and ``mlp_input`` stand for.

    Raises:
        InputError: There is no such layer, or it has no MLP.
    """
    n_layers = weights.n_layers
    if layer is None or layer == -1:
        layer = n_layers
    if not 0 <= layer <= n_layers:
        raise InputError(f"`layer` must be from 0 to {n_layers}, -1 or None. Got {layer}.")
    if mlp_input and layer == n_layers:
        raise InputError(
            f"`mlp_input` needs a layer with an MLP, and layer {layer} stands for the end of the model."
            f" For what the last MLP reads give layer={n_layers - 1}."
        )
    if mlp_input and not weights.has_mlp:
        raise InputError("`mlp_input` needs an MLP, and this model has only attention.")
    return Point(layer, mlp_input)


def points_before(point: Point, weights: ModelWeights, incl_mid: bool) -> list[tuple[str, Point]]:
    """``point`` and those before it, labelled; with ``incl_mid``, what each earlier MLP reads too."""
    found = []
    for layer in range(min(point.layer + 1, weights.n_layers)):
        found.append((f"{layer}_pre", Point(layer)))
        if point.mlp_input if layer == point.layer else incl_mid and weights.has_mlp:
            found.append((f"{layer}_mid", Point(layer, mlp_input=True)))
    if point.layer == weights.n_layers:
        found.append(("final_post", point))
    return found


def written_before(
    cache: Activations, point: Point, mode: str = "all", incl_embeds: bool = True
) -> list[tuple[str, str]]:
    """What was written before ``point``, as labels and full names: embeddings, then each layer's attention and MLP."""
    weights = cache.weights
    found = embeddings(cache) if incl_embeds else []
    for layer in range(weights.n_layers):
        if mode != "mlp" and layer < point.attentions(weights):
            found.append((f"{layer}_attn_out", f"blocks.{layer}.hook_attn_out"))
        if mode != "attn" and weights.has_mlp and layer < point.layer:
            found.append((f"{layer}_mlp_out", f"blocks.{layer}.hook_mlp_out"))
    return found


def embeddings(cache: Activations) -> list[tuple[str, str]]:
    """The embeddings that are in the cache, as labels and full names."""
    names = [("embed", "hook_embed"), ("pos_embed", "hook_pos_embed")]
    return [(label, name) for label, name in names if name in cache.cache_dict]
