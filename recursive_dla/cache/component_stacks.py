"""Stacks of what components wrote into the residual stream: heads, neurons, vectors as they were cached.

A stack is allocated once and filled a part at a time, each as its :class:`~recursive_dla.cache.projections.Reader`
wants it. Along directions, no component's vector is ever made: a head's ``z`` meets ``W_O @ direction``, a neuron's
``post`` meets ``W_out @ direction``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache.activations import Activations
from recursive_dla.cache.neuron_inputs import NeuronInputs, neuron_outputs
from recursive_dla.cache.norms import apply_norm, precise, pull_back_norm
from recursive_dla.cache.projections import Reader, along
from recursive_dla.cache.residual_points import Point, embeddings, written_before
from recursive_dla.cache.slices import EVERYTHING, Slice
from recursive_dla.errors import InputError
from recursive_dla.model.weights import ModelWeights, Norm


@runtime_checkable
class Rows(Protocol):
    """Some rows of a stack: how many, what they are called, and what is in them."""

    @property
    def size(self) -> int: ...

    def labels(self) -> list[str]: ...

    def fill(self, reader: Reader, out: Float[Tensor, "row *batch_and_pos d"]) -> None: ...


def assemble(
    parts: Sequence[Rows],
    reader: Reader,
    batch_and_pos: Sequence[int],
    weights: ModelWeights,
    remainder_of: Float[Tensor, "*batch_and_pos d_model"] | None = None,
) -> Float[Tensor, "component *rest"]:
    """The stack of all rows; with what is left of ``remainder_of`` as the last one."""
    count = sum(part.size for part in parts)
    shape = (count + (remainder_of is not None), *batch_and_pos, reader.width(weights.d_model))
    stack = torch.empty(shape, dtype=reader.dtype, device=weights.device)
    place = 0
    for part in parts:
        part.fill(reader, stack[place : place + part.size])
        place += part.size
    if remainder_of is not None:
        reader.read(remainder_of[None], stack[count:])
        stack[count] -= stack[:count].sum(0, dtype=precise(reader.dtype))
    return stack[..., 0] if reader.one else stack


@dataclass(frozen=True)
class VectorRow:
    """One vector at every place, as it is."""

    label: str
    vector: Float[Tensor, "*batch_and_pos d_model"]
    size: int = 1

    def labels(self) -> list[str]:
        return [self.label]

    def fill(self, reader: Reader, out: Tensor) -> None:
        reader.read(self.vector[None], out)


@dataclass(frozen=True)
class HeadRows:
    """What every head of some layers wrote: ``z W_O``, through the norm after the attention if there is one."""

    cache: Activations
    layers: range
    positions: Slice

    @property
    def size(self) -> int:
        return len(self.layers) * self.cache.weights.n_heads

    def labels(self) -> list[str]:
        return [f"L{layer}H{head}" for layer in self.layers for head in range(self.cache.weights.n_heads)]

    def fill(self, reader: Reader, out: Tensor) -> None:
        cached = self._cached() if reader.directions is None else None
        if cached:
            taken = [self.positions.apply(each, dim=-3).to(out.dtype) for each in cached]
            torch.cat(taken, dim=-2, out=out.movedim(0, -2))
            reader.finish(out)
            return
        n_heads = self.cache.weights.n_heads
        for place, layer in enumerate(self.layers):
            here = out[place * n_heads : (place + 1) * n_heads]
            if reader.directions is None:
                self._write(layer, reader, here)
            else:
                self._project(layer, reader, reader.directions, here)

    def _cached(self) -> list[Float[Tensor, "*batch_and_pos head d_model"]] | None:
        """What the heads wrote, if that is cached for all of these layers."""
        found = []
        for layer in self.layers:
            results = self.cache.cached_head_results(layer)
            # Where a norm follows the attention, these are not yet what a head wrote.
            if results is None or self.cache.weights.stored_layers[layer].attention.out_norm is not None:
                return None
            found.append(results)
        return found

    def _write(self, layer: int, reader: Reader, out: Tensor) -> None:
        attention = self.cache.weights.stored_layers[layer].attention
        results = self.cache.cached_head_results(layer)
        if results is None:
            write_head_results(self.positions.apply(self.cache.need("z", layer), dim=-3), attention.W_O, out)
        else:
            out.copy_(self.positions.apply(results, dim=-3).movedim(-2, 0))
        out_scale = _out_scale(self.cache, attention.out_norm, self.positions)
        reader.finish(apply_norm(out, attention.out_norm, out_scale, in_place=True))

    def _project(self, layer: int, reader: Reader, directions: Tensor, out: Tensor) -> None:
        attention = self.cache.weights.stored_layers[layer].attention
        z = self.positions.apply(self.cache.need("z", layer), dim=-3).to(directions.dtype)
        W_O = attention.W_O.to(z.dtype)
        directions = pull_back_norm(directions, attention.out_norm)
        if directions.ndim == 2:
            at_z = einsum(W_O, directions, "head d_head d_model, direction d_model -> head d_head direction")
            products = einsum(z, at_z, "... head d_head, head d_head direction -> head ... direction")
        else:
            at_z = einsum(W_O, directions, "head d_head d_model, ... direction d_model -> ... head d_head direction")
            products = einsum(z, at_z, "... head d_head, ... head d_head direction -> head ... direction")
        out_scale = _out_scale(self.cache, attention.out_norm, self.positions)
        reader.put(products if out_scale is None else products / out_scale, out)


def write_head_results(
    z: Float[Tensor, "*batch_and_pos head d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    out: Float[Tensor, "head *batch_and_pos d_model"],
) -> None:
    """What each head wrote, ``z W_O``, into ``out``, without a second copy of it where its memory allows."""
    by_head = rearrange(z, "... head d_head -> head (...) d_head").to(out.dtype)
    if out.is_contiguous():
        torch.bmm(by_head, W_O.to(out.dtype), out=out.view(len(W_O), by_head.shape[1], W_O.shape[-1]))
    else:
        out.copy_(torch.bmm(by_head, W_O.to(out.dtype)).view(out.shape))


@dataclass(frozen=True)
class NeuronRows:
    """What the chosen neurons of one layer wrote: ``post W_out``, through the norm after the MLP if there is one."""

    cache: Activations
    layer: int
    positions: Slice
    chosen: Slice

    @property
    def size(self) -> int:
        return len(self._numbers)

    @cached_property
    def _numbers(self) -> list[int]:
        return self.chosen.indices(len(self.W_out)).tolist()

    def labels(self) -> list[str]:
        return [f"L{self.layer}N{number}" for number in self._numbers]

    @property
    def W_out(self) -> Float[Tensor, "neuron d_model"]:
        """Of all neurons of the layer.

        Raises:
            InputError: The model has no MLPs.
            UnsupportedModelError: Its MLPs have experts.
        """
        ensure_neurons(self.cache)
        mlp = self.cache.weights.stored_layers[self.layer].mlp
        assert mlp is not None
        return mlp.neurons.W_out

    def fill(self, reader: Reader, out: Tensor) -> None:
        if reader.directions is not None:
            reader.put(rearrange(self.results(reader), "... neuron k -> neuron ... k"), out)
            return
        post, W_out, out_norm, out_scale = self._parts()
        # Hugging Face keeps W_out transposed, and reading it across its rows would take twice as long.
        each = W_out.to(out.dtype).contiguous().view(len(W_out), *(1 for _ in post.shape[:-1]), -1)
        torch.mul(rearrange(post, "... neuron -> neuron ... 1").to(out.dtype), each, out=out)
        reader.finish(apply_norm(out, out_norm, out_scale, in_place=True))

    def results(self, reader: Reader) -> Float[Tensor, "*batch_and_pos neuron d_model_or_direction"]:
        """What each neuron wrote, or its dot products with the reader's directions, the neurons not in front."""
        post, W_out, out_norm, out_scale = self._parts()
        out_scale = None if out_scale is None else out_scale[..., None]
        if reader.directions is None:
            return apply_norm(post[..., None] * W_out, out_norm, out_scale, in_place=True)
        directions = pull_back_norm(reader.directions, out_norm)
        at_neurons = along(W_out, directions) if directions.ndim == 2 else W_out.to(directions.dtype) @ directions.mT
        products = at_neurons * post[..., None]
        return products if out_scale is None else products / out_scale

    def _parts(self) -> tuple[Tensor, Tensor, Norm | None, Tensor | None]:
        """Activations and output weights of the neurons, and the norm after them with its scale."""
        W_out = self.chosen.apply(self.W_out)
        mlp = self.cache.weights.stored_layers[self.layer].mlp
        assert mlp is not None
        post = self.cache.cache_dict.get(f"blocks.{self.layer}.mlp.hook_post")
        if post is None:
            pre_linear = self.cache.need("pre_linear", self.layer) if mlp.gated else None
            post = neuron_outputs(mlp, NeuronInputs(self.cache.need("pre", self.layer), pre_linear, None))
        post = self.chosen.apply(self.positions.apply(post, dim=-2), dim=-1)
        return post, W_out, mlp.out_norm, _out_scale(self.cache, mlp.out_norm, self.positions)


def neuron_rows(cache: Activations, n_layers: int, positions: Slice, chosen: Slice) -> list[NeuronRows]:
    """The chosen neurons of every one of the first ``n_layers`` layers."""
    return [NeuronRows(cache, layer, positions, chosen) for layer in range(n_layers)]


def ensure_neurons(cache: Activations) -> None:
    """Whether there are neurons to take apart, even where no layer is asked for.

    Raises:
        InputError: The model has no MLPs.
    """
    if not cache.weights.has_mlp:
        raise InputError(f"Model {cache.weights.name} has only attention, so there are no neurons.")


def cached_rows(cache: Activations, names: Sequence[tuple[str, str]], positions: Slice) -> list[VectorRow]:
    """Activations as they are cached, by label and full name."""
    return [VectorRow(label, positions.apply(cache.need(name), dim=-2)) for label, name in names]


def all_rows(cache: Activations, point: Point, positions: Slice, expand_neurons: bool = True) -> list[Rows]:
    """The finest decomposition: heads, neurons or MLPs, embeddings, biases."""
    rows: list[Rows] = [HeadRows(cache, range(point.attentions(cache.weights)), positions)]
    if cache.weights.has_mlp and expand_neurons:
        rows += neuron_rows(cache, point.layer, positions, EVERYTHING)
    elif cache.weights.has_mlp:
        rows += cached_rows(cache, written_before(cache, Point(point.layer), "mlp", incl_embeds=False), positions)
    rows += cached_rows(cache, embeddings(cache), positions)
    bias = accumulated_bias(cache, point, positions, with_mlps=expand_neurons)
    return [*rows, VectorRow("bias", bias.expand(*cache.places(positions), -1))]


def accumulated_bias(
    cache: Activations, point: Point, positions: Slice, with_mlps: bool
) -> Float[Tensor, "*batch_and_pos d_model"]:
    """The sum of the biases written before ``point``: ``b_O``, and ``with_mlps`` also ``b_out``; zero where there are
    none.

    Biases that go through a norm differ between positions, as its scale does.
    """
    weights = cache.weights
    total = torch.zeros(weights.d_model, dtype=precise(weights.dtype), device=weights.device)
    for index in range(point.attentions(weights)):
        attention, mlp = weights.stored_layers[index].attention, weights.stored_layers[index].mlp
        written = [(attention.b_O, attention.out_norm)]
        if with_mlps and mlp is not None and index < point.layer:
            written.append((mlp.b_out, mlp.out_norm))
        for bias, norm in written:
            if bias is not None:
                scale = _out_scale(cache, norm, positions)
                total = total + (bias if scale is None else apply_norm(bias, norm, scale))
            if norm is not None and norm.bias is not None:
                total = total + norm.bias
    return total


def _out_scale(cache: Activations, norm: Norm | None, positions: Slice) -> Tensor | None:
    """The scale of a norm between a sublayer and the stream."""
    return None if norm is None else positions.apply(cache.stored_norm_scale(norm), dim=-2)
