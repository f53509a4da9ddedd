"""Stacks of what components wrote into the residual stream: heads, neurons, vectors as they were cached.

A stack is allocated once and filled a layer at a time, each row as its :class:`~recursive_dla.cache.norms.Reader` wants it.
Along directions, no component's vector is ever made: a head's ``z`` meets ``W_O @ direction``, a neuron's ``post``
meets ``W_out @ direction``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.pullback import apply_norm, pull_back_norm
from recursive_dla.cache.activations import ActivationStore
from recursive_dla.cache.norms import Reader, along, normalise, precise
from recursive_dla.cache.slices import EVERYTHING, Slice
from recursive_dla.errors import InputError
from recursive_dla.model.activation_functions import activation
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

    def stream(self, store: ActivationStore) -> Float[Tensor, "*batch_and_pos d_model"]:
        """The residual stream there."""
        if self.layer == store.weights.n_layers:
            return store.need("resid_post", self.layer - 1)
        mid = self.mlp_input and not store.weights.stored_layers[self.layer].parallel
        return store.need("resid_mid" if mid else "resid_pre", self.layer)


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


def writers(store: ActivationStore, point: Point, mode: str = "all", incl_embeds: bool = True) -> list[tuple[str, str]]:
    """What was written before ``point``, as labels and full names: embeddings, then each layer's attention and MLP."""
    weights = store.weights
    found = _embeddings(store) if incl_embeds else []
    for layer in range(weights.n_layers):
        if mode != "mlp" and layer < point.attentions(weights):
            found.append((f"{layer}_attn_out", f"blocks.{layer}.hook_attn_out"))
        if mode != "attn" and weights.has_mlp and layer < point.layer:
            found.append((f"{layer}_mlp_out", f"blocks.{layer}.hook_mlp_out"))
    return found


def _embeddings(store: ActivationStore) -> list[tuple[str, str]]:
    found = [("embed", "hook_embed")] if store.has_embed else []
    return [*found, ("pos_embed", "hook_pos_embed")] if store.has_pos_embed else found


class Rows(NamedTuple):
    """Some rows of a stack: how many, what makes their labels, and what fills them."""

    size: int
    labels: Callable[[], Iterable[str]]
    fill: Callable[[Tensor], None]


def assemble(
    rows: Sequence[Rows],
    reader: Reader,
    batch_and_pos: Sequence[int],
    weights: ModelWeights,
    remainder_of: Float[Tensor, "*batch_and_pos d_model"] | None = None,
) -> Float[Tensor, "component *rest"]:
    """The stack of all rows; with what is left of ``remainder_of`` as the last one."""
    count = sum(part.size for part in rows)
    shape = (count + (remainder_of is not None), *batch_and_pos, reader.width(weights.d_model))
    stack = torch.empty(shape, dtype=reader.dtype, device=weights.device)
    place = 0
    for part in rows:
        part.fill(stack[place : place + part.size])
        place += part.size
    if remainder_of is not None:
        reader.read(remainder_of[None], stack[count:])
        stack[count] -= stack[:count].sum(0, dtype=precise(reader.dtype))
    return stack[..., 0] if reader.one else stack


def vectors(labels: Sequence[str], tensors: Sequence[Tensor], reader: Reader) -> list[Rows]:
    """Vectors as they are, one row each."""

    def fill(tensor: Tensor, out: Tensor) -> None:
        reader.read(tensor[None], out)

    return [
        Rows(1, partial(list, [label]), partial(fill, tensor)) for label, tensor in zip(labels, tensors, strict=True)
    ]


def heads(store: ActivationStore, n_layers: int, positions: Slice, reader: Reader) -> list[Rows]:
    """Every head of the first ``n_layers`` layers."""
    n_heads = store.weights.n_heads

    def labels(layers: range) -> list[str]:
        return [f"L{layer}H{head}" for layer in layers for head in range(n_heads)]

    results = None if reader.directions is not None else _cached_head_results(store, n_layers)
    if results:
        fill = partial(_copy_heads, results, positions, reader)
        return [Rows(n_layers * n_heads, partial(labels, range(n_layers)), fill)]
    return [
        Rows(n_heads, partial(labels, range(layer, layer + 1)), partial(_fill_heads, store, layer, positions, reader))
        for layer in range(n_layers)
    ]


def _cached_head_results(
    store: ActivationStore, n_layers: int
) -> list[Float[Tensor, "*batch_and_pos head d_model"]] | None:
    """What each head wrote, if that is cached for all of these layers."""
    found = []
    for layer in range(n_layers):
        results = store.cached_head_results(layer)
        # Where a norm follows the attention, these are not yet what a head wrote.
        if results is None or store.weights.stored_layers[layer].attention.out_norm is not None:
            return None
        found.append(results)
    return found


def _copy_heads(results: Sequence[Tensor], positions: Slice, reader: Reader, out: Tensor) -> None:
    taken = [positions.apply(each, dim=-3).to(out.dtype) for each in results]
    torch.cat(taken, dim=-2, out=out.movedim(0, -2))
    reader.finish(out)


def _fill_heads(store: ActivationStore, layer: int, positions: Slice, reader: Reader, out: Tensor) -> None:
    attention = store.weights.stored_layers[layer].attention
    out_scale = _out_scale(store, attention.out_norm, positions)
    if reader.directions is None:
        results = store.cached_head_results(layer)
        if results is None:
            write_head_results(positions.apply(store.need("z", layer), dim=-3), attention.W_O, out)
        else:
            out.copy_(positions.apply(results, dim=-3).movedim(-2, 0))
        reader.finish(normalise(out, attention.out_norm, out_scale, in_place=True))
        return
    z = positions.apply(store.need("z", layer), dim=-3).to(reader.directions.dtype)
    W_O = attention.W_O.to(z.dtype)
    directions = pull_back_norm(reader.directions, attention.out_norm)
    if directions.ndim == 2:
        at_z = einsum(W_O, directions, "head d_head d_model, direction d_model -> head d_head direction")
        products = einsum(z, at_z, "... head d_head, head d_head direction -> head ... direction")
    else:
        at_z = einsum(W_O, directions, "head d_head d_model, ... direction d_model -> ... head d_head direction")
        products = einsum(z, at_z, "... head d_head, ... head d_head direction -> head ... direction")
    reader.put(products if out_scale is None else products / out_scale, out)


def write_head_results(
    z: Float[Tensor, "*batch_and_pos head d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    out: Float[Tensor, "head *batch_and_pos d_model"],
) -> None:
    """What each head wrote, ``z W_O``, into ``out``, without a second copy of it."""
    by_head = rearrange(z, "... head d_head -> head (...) d_head").to(out.dtype)
    torch.bmm(by_head, W_O.to(out.dtype), out=out.view(len(W_O), by_head.shape[1], W_O.shape[-1]))


def neurons(store: ActivationStore, n_layers: int, positions: Slice, chosen: Slice, reader: Reader) -> list[Rows]:
    """The chosen neurons of every one of the first ``n_layers`` layers."""
    found = []
    for layer in range(n_layers):
        numbers = chosen.indices(len(neuron_outputs(store, layer)))

        def labels(layer: int, numbers: np.ndarray) -> list[str]:
            return [f"L{layer}N{number}" for number in numbers.tolist()]

        fill = partial(_fill_neurons, store, layer, positions, chosen, reader)
        found.append(Rows(len(numbers), partial(labels, layer, numbers), fill))
    return found


def _fill_neurons(
    store: ActivationStore, layer: int, positions: Slice, chosen: Slice, reader: Reader, out: Tensor
) -> None:
    if reader.directions is not None:
        reader.put(rearrange(neuron_results(store, layer, positions, chosen, reader), "... n k -> n ... k"), out)
        return
    post, W_out, out_norm, out_scale = _neurons_of(store, layer, positions, chosen)
    # Hugging Face keeps W_out transposed, and reading it across its rows would take twice as long.
    each = W_out.to(out.dtype).contiguous().view(len(W_out), *(1 for _ in post.shape[:-1]), -1)
    torch.mul(rearrange(post, "... neuron -> neuron ... 1").to(out.dtype), each, out=out)
    reader.finish(normalise(out, out_norm, out_scale, in_place=True))


def neuron_results(
    store: ActivationStore, layer: int, positions: Slice, chosen: Slice, reader: Reader
) -> Float[Tensor, "*batch_and_pos neuron d_model_or_direction"]:
    """What each chosen neuron of a layer wrote, ``post W_out``, or its dot products with the reader's directions."""
    post, W_out, out_norm, out_scale = _neurons_of(store, layer, positions, chosen)
    out_scale = None if out_scale is None else out_scale[..., None]
    if reader.directions is None:
        return normalise(post[..., None] * W_out, out_norm, out_scale, in_place=True)
    directions = pull_back_norm(reader.directions, out_norm)
    at_neurons = along(W_out, directions) if directions.ndim == 2 else W_out.to(directions.dtype) @ directions.mT
    products = at_neurons * post[..., None]
    return products if out_scale is None else products / out_scale


def _neurons_of(
    store: ActivationStore, layer: int, positions: Slice, chosen: Slice
) -> tuple[Tensor, Tensor, Norm | None, Tensor | None]:
    """Activations and output weights of some neurons, and the norm after them with its scale."""
    mlp = store.weights.stored_layers[layer].mlp
    assert mlp is not None
    post = chosen.apply(positions.apply(neuron_activations(store, layer), dim=-2), dim=-1)
    return post, chosen.apply(mlp.neurons.W_out), mlp.out_norm, _out_scale(store, mlp.out_norm, positions)


def neuron_outputs(store: ActivationStore, layer: int) -> Float[Tensor, "neuron d_model"]:
    """The rows of a layer's ``W_out``.

    Raises:
        InputError: The model has no MLPs, or MLPs of experts.
    """
    mlp = store.weights.stored_layers[layer].mlp
    if mlp is None:
        raise InputError(f"Model {store.weights.name} has only attention, so there are no neurons.")
    return mlp.neurons.W_out


def neuron_activations(store: ActivationStore, layer: int) -> Float[Tensor, "*batch_and_pos neuron"]:
    """What each neuron multiplies its row of ``W_out`` by: as cached, else from the pre-activations."""
    post = store.cache_dict.get(f"blocks.{layer}.mlp.hook_post")
    if post is not None:
        return post
    mlp = store.weights.stored_layers[layer].mlp
    assert mlp is not None
    post = activation(mlp.activation).function(store.need("pre", layer))
    return post * store.need("pre_linear", layer) if mlp.gated else post


def cached(store: ActivationStore, names: Sequence[tuple[str, str]], positions: Slice, reader: Reader) -> list[Rows]:
    """Activations as they are cached, by label and full name."""
    found = [positions.apply(store.need(name), dim=-2) for _, name in names]
    return vectors([label for label, _ in names], found, reader)


def everything(
    store: ActivationStore, point: Point, positions: Slice, reader: Reader, expand_neurons: bool = True
) -> list[Rows]:
    """The finest decomposition: heads, neurons or MLPs, embeddings, biases."""
    rows = heads(store, point.attentions(store.weights), positions, reader)
    if store.weights.has_mlp and expand_neurons:
        rows += neurons(store, point.layer, positions, EVERYTHING, reader)
    elif store.weights.has_mlp:
        rows += cached(store, writers(store, Point(point.layer), "mlp", incl_embeds=False), positions, reader)
    rows += cached(store, _embeddings(store), positions, reader)
    bias = accumulated_bias(store, point, positions, with_mlps=expand_neurons)
    return [*rows, *vectors(["bias"], [bias.expand(*store.places(positions), -1)], reader)]


def accumulated_bias(
    store: ActivationStore, point: Point, positions: Slice, with_mlps: bool
) -> Float[Tensor, "*batch_and_pos d_model"]:
    """The sum of the biases written before ``point``: ``b_O``, and ``with_mlps`` also ``b_out``; zero where there are
    none.

    Biases that go through a norm differ between positions, as its scale does.
    """
    weights = store.weights
    total = torch.zeros(weights.d_model, dtype=precise(weights.dtype), device=weights.device)
    for index in range(point.attentions(weights)):
        attention, mlp = weights.stored_layers[index].attention, weights.stored_layers[index].mlp
        written = [(attention.b_O, attention.out_norm)]
        if with_mlps and mlp is not None and index < point.layer:
            written.append((mlp.b_out, mlp.out_norm))
        for bias, norm in written:
            if bias is not None:
                scale = _out_scale(store, norm, positions)
                total = total + (bias if scale is None else apply_norm(bias, norm, scale))
            if norm is not None and norm.bias is not None:
                total = total + norm.bias
    return total


def _out_scale(store: ActivationStore, norm: Norm | None, positions: Slice) -> Tensor | None:
    """The scale of a norm between a sublayer and the stream."""
    return None if norm is None else positions.apply(store.norm_scale(norm), dim=-2)
