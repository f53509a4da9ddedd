"""Decompositions of the residual stream: its points, its writers, heads, neurons, all of them.

Each function is the method of :class:`recursive_dla.ActivationCache` that has its name.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache.activations import Activations
from recursive_dla.cache.component_stacks import (
    HeadRows,
    NeuronRows,
    Rows,
    all_rows,
    assemble,
    ensure_neurons,
    neuron_rows,
    write_head_results,
)
from recursive_dla.cache.norms import apply_norm, normalise_by_itself
from recursive_dla.cache.projections import Reader, reader
from recursive_dla.cache.residual_points import Point, point_before, points_before, written_before
from recursive_dla.cache.slices import Slice, SliceInput
from recursive_dla.errors import InputError

logger = logging.getLogger(__name__)

Stack = Float[Tensor, "component *rest"]
# A stack, or with its labels where `return_labels` asks for them.
Labelled = Stack | tuple[Stack, list[str]]
Directions = Float[Tensor, " d_model"] | Float[Tensor, "d_model direction"] | None


# --- the residual stream -----------------------------------------------------------------------------------------


@torch.no_grad()
def accumulated_resid(
    cache: Activations,
    layer: int | None = None,
    incl_mid: bool = False,
    apply_ln: bool = False,
    pos_slice: SliceInput = None,
    mlp_input: bool = False,
    return_labels: bool = False,
) -> Labelled:
    """The residual stream at every point up to ``layer``, for the logit lens.

    Args:
        layer: See :class:`ActivationCache`.
        incl_mid: Include the stream before each earlier MLP. In a parallel block that is the one before its
            attention.
        apply_ln: Apply the norm at the last of the points. At the end of the model, each point is normalised by its
            own statistics, with the norm's weight and bias, so that ``stack @ W_U + b_U`` is the logit lens. At
            other layers, by the cached scale and without the bias.
        pos_slice: The positions to take.
        mlp_input: End with what that layer's MLP reads.
        return_labels: Return ``(stack, labels)``, with labels ``0_pre``, ``0_mid``, …, ``final_post``.

    Returns:
        ``[point *batch_and_pos d_model]``.

    Example:
        >>> stack, labels = cache.accumulated_resid(apply_ln=True, return_labels=True)
        >>> stack.shape, labels[-2:]
        (torch.Size([31, 1, 15, 576]), ['29_pre', 'final_post'])
    """
    point = point_before(cache.weights, layer, mlp_input)
    points = points_before(point, cache.weights, incl_mid)
    positions = Slice(pos_slice)
    stack = torch.stack([positions.apply(each.stream(cache), dim=-2) for _, each in points])
    if apply_ln and point.layer == cache.weights.n_layers:
        stack = normalise_by_itself(stack, point.norm(cache.weights))
    elif apply_ln:
        stack = _normalised(cache, stack, point, positions)
    return (stack, [label for label, _ in points]) if return_labels else stack


@torch.no_grad()
def decompose_resid(
    cache: Activations,
    layer: int | None = None,
    mlp_input: bool = False,
    mode: Literal["all", "mlp", "attn"] = "all",
    apply_ln: bool = False,
    pos_slice: SliceInput = None,
    incl_embeds: bool = True,
    return_labels: bool = False,
) -> Labelled:
    """The additive writers into the residual stream, one layer's attention or MLP at a time.

    They sum to the residual stream entering ``layer`` (its MLP, with ``mlp_input``).

    Args:
        layer: See :class:`ActivationCache`.
        mlp_input: Up to what that layer's MLP reads.
        mode: Which layers' outputs: ``"all"``, only ``"mlp"``, or only ``"attn"``.
        apply_ln: Scale the stack by the norm at that point.
        pos_slice: The positions to take.
        incl_embeds: Whether to include the token and position embeddings.
        return_labels: Return ``(stack, labels)``, with labels ``embed``, ``pos_embed``, ``0_attn_out``, …

    Returns:
        ``[component *batch_and_pos d_model]``.

    Example:
        >>> torch.allclose(cache.decompose_resid(5).sum(0), cache["resid_pre", 5], atol=1e-3)
        True
    """
    if mode not in ("all", "mlp", "attn"):
        raise InputError(f"`mode` must be 'all', 'mlp' or 'attn'. Got {mode!r}.")
    point = point_before(cache.weights, layer, mlp_input)
    positions = Slice(pos_slice)
    names = written_before(cache, point, mode, incl_embeds)
    if names:
        stack = torch.stack([positions.apply(cache.need(name), dim=-2) for _, name in names])
    else:
        stack = torch.empty(0, *cache.places(positions), cache.weights.d_model, device=cache.weights.device)
    if apply_ln:
        stack = _normalised(cache, stack, point, positions)
    return (stack, [label for label, _ in names]) if return_labels else stack


@torch.no_grad()
def get_full_resid_decomposition(
    cache: Activations,
    layer: int | None = None,
    mlp_input: bool = False,
    expand_neurons: bool = True,
    apply_ln: bool = False,
    pos_slice: SliceInput = None,
    return_labels: bool = False,
    project_onto: Directions = None,
    *,
    project_output_onto: Tensor | None = None,
) -> Labelled:
    """The finest decomposition: every head, every neuron, the embeddings and the biases.

    It sums to the residual stream entering ``layer`` (its MLP, with ``mlp_input``). Without ``project_onto``, all
    neurons take ``n_layers * d_mlp * batch * pos * d_model`` numbers.

    Args:
        layer: See :class:`ActivationCache`.
        mlp_input: Up to what that layer's MLP reads.
        expand_neurons: Single neurons rather than whole MLPs, whose outputs have their bias in them.
        apply_ln: Scale the stack by the norm at that point.
        pos_slice: The positions to take.
        return_labels: Return ``(stack, labels)``, with labels ``L0H0``, …, then ``L0N0``, … or ``0_mlp_out``, …,
            then ``embed``, ``pos_embed``, ``bias``.
        project_onto: See :class:`ActivationCache`.
        project_output_onto: TransformerLens's name for it.

    Returns:
        ``[component *batch_and_pos d_model]``.

    Example:
        >>> direction = model.W_U[:, model.to_single_token(" Mary")]
        >>> parts, labels = cache.get_full_resid_decomposition(
        ...     apply_ln=True, pos_slice=-1, project_onto=direction, return_labels=True
        ... )
        >>> parts.shape, labels[0], labels[270], labels[-2:]
        (torch.Size([46352, 1]), 'L0H0', 'L0N0', ['embed', 'bias'])
    """
    point = point_before(cache.weights, layer, mlp_input)
    positions = Slice(pos_slice)
    read = _reader(cache, point, positions, apply_ln, _projection(project_onto, project_output_onto))
    rows = all_rows(cache, point, positions, expand_neurons)
    return stacked(cache, rows, read, point, positions, return_labels=return_labels)


@torch.no_grad()
def compute_head_results(cache: Activations) -> None:
    """Compute what each head wrote, ``z W_O``, and keep it as ``result``: ``[*batch_and_pos head d_model]``.

    No other method needs this. It makes repeated :meth:`stack_head_results` quicker, at the price of ``n_heads``
    times the memory of one residual stream for every layer.

    Example:
        >>> copy = ActivationCache(cache, model)
        >>> copy.compute_head_results()
        >>> copy["result", 0].shape
        torch.Size([1, 15, 9, 576])
    """
    missing = [layer for layer in range(cache.weights.n_layers) if cache.cached_head_results(layer) is None]
    logger.info("Computing the head results of %d layers; the others are cached.", len(missing))
    for layer in missing:
        z, W_O = cache.need("z", layer), cache.weights.stored_layers[layer].attention.W_O
        dtype = torch.promote_types(z.dtype, W_O.dtype)
        results = z.new_empty((len(W_O), *z.shape[:-2], W_O.shape[-1]), dtype=dtype)
        write_head_results(z, W_O, results)
        cache._activations[f"blocks.{layer}.attn.hook_result"] = rearrange(results, "head ... d -> ... head d")


@torch.no_grad()
def stack_head_results(
    cache: Activations,
    layer: int | None = -1,
    return_labels: bool = False,
    incl_remainder: bool = False,
    pos_slice: SliceInput = None,
    apply_ln: bool = False,
    *,
    project_onto: Directions = None,
) -> Labelled:
    """What each head wrote to the residual stream, ``z W_O``, for all layers before ``layer``.

    Args:
        layer: See :class:`ActivationCache`.
        return_labels: Return ``(stack, labels)``, with labels ``L0H0``, ``L0H1``, …
        incl_remainder: Append the rest of the residual stream entering ``layer``.
        pos_slice: The positions to take.
        apply_ln: Scale the stack by the norm at that point.
        project_onto: See :class:`ActivationCache`.

    Returns:
        ``[layer·head *batch_and_pos d_model]``.

    Example:
        >>> heads, labels = cache.stack_head_results(incl_remainder=True, pos_slice=-1, return_labels=True)
        >>> heads.shape, labels[-2:]
        (torch.Size([271, 1, 576]), ['L29H8', 'remainder'])
        >>> torch.allclose(heads.sum(0), cache["resid_post", -1][:, -1], atol=1e-3)
        True
    """
    point, positions = point_before(cache.weights, layer), Slice(pos_slice)
    read = _reader(cache, point, positions, apply_ln, project_onto)
    rows = HeadRows(cache, range(point.layer), positions)
    return stacked(cache, [rows], read, point, positions, incl_remainder, return_labels)


@torch.no_grad()
def get_neuron_results(
    cache: Activations,
    layer: int,
    neuron_slice: SliceInput = None,
    pos_slice: SliceInput = None,
    project_onto: Directions = None,
    *,
    project_output_onto: Tensor | None = None,
) -> Float[Tensor, "*rest"]:
    """What each neuron of a layer wrote to the residual stream, ``post W_out``.

    Over all neurons these sum to the MLP's output, less its bias.

    Args:
        layer: The layer of the neurons; negative ones count back.
        neuron_slice: The neurons to take, in any of the forms of ``pos_slice``.
        pos_slice: The positions to take.
        project_onto: See :class:`ActivationCache`.
        project_output_onto: TransformerLens's name for it.

    Returns:
        ``[*batch_and_pos neuron d_model]``.

    Example:
        >>> cache.get_neuron_results(3, neuron_slice=(0, 10), pos_slice=-1).shape
        torch.Size([1, 10, 576])
    """
    n_layers = cache.weights.n_layers
    if not -n_layers <= layer < n_layers:
        raise InputError(f"`layer` must be from {-n_layers} to {n_layers - 1}. Got {layer}.")
    layer, positions, chosen = layer % n_layers, Slice(pos_slice), Slice(neuron_slice)
    rows = NeuronRows(cache, layer, positions, chosen.kept())
    read = _reader(cache, Point(layer), positions, False, _projection(project_onto, project_output_onto))
    results = rows.results(read)
    if chosen.mode == "int":
        results = results[..., 0, :]
    return results[..., 0] if read.one else results


@torch.no_grad()
def stack_neuron_results(
    cache: Activations,
    layer: int | None,
    pos_slice: SliceInput = None,
    neuron_slice: SliceInput = None,
    return_labels: bool = False,
    incl_remainder: bool = False,
    apply_ln: bool = False,
    project_onto: Directions = None,
    mlp_input: bool = False,
    *,
    project_output_onto: Tensor | None = None,
) -> Labelled:
    """What each neuron wrote to the residual stream, for all layers before ``layer``.

    Args:
        layer: See :class:`ActivationCache`.
        pos_slice: The positions to take.
        neuron_slice: The neurons of each layer to take; an int keeps the dimension.
        return_labels: Return ``(stack, labels)``, with labels ``L0N0``, ``L0N1``, …
        incl_remainder: Append the rest of the residual stream entering ``layer``.
        apply_ln: Scale the stack by the norm at that point.
        project_onto: See :class:`ActivationCache`.
        mlp_input: The point is before that layer's MLP, for ``incl_remainder`` and ``apply_ln``.
        project_output_onto: TransformerLens's name for ``project_onto``.

    Returns:
        ``[layer·neuron *batch_and_pos d_model]``.

    Example:
        >>> direction = model.W_U[:, model.to_single_token(" Mary")]
        >>> cache.stack_neuron_results(-1, apply_ln=True, project_onto=direction).shape
        torch.Size([46080, 1, 15])
    """
    point, positions = point_before(cache.weights, layer, mlp_input), Slice(pos_slice)
    ensure_neurons(cache)
    read = _reader(cache, point, positions, apply_ln, _projection(project_onto, project_output_onto))
    rows = neuron_rows(cache, point.layer, positions, Slice(neuron_slice).kept())
    return stacked(cache, rows, read, point, positions, incl_remainder, return_labels)


def stack_activation(
    cache: Activations, activation_name: str, layer: int | None = -1, sublayer_type: str | None = None
) -> Float[Tensor, "layer *rest"]:
    """The same activation of every layer before ``layer``.

    Args:
        activation_name: Its short name.
        layer: See :class:`ActivationCache`.
        sublayer_type: ``"attn"``, ``"mlp"``, ``"ln1"`` or ``"ln2"``, where the name alone does not tell.

    Returns:
        ``[layer …]``, each as it is cached.

    Example:
        >>> cache.stack_activation("pattern").shape, cache.stack_activation("scale", 4, "ln2").shape
        (torch.Size([30, 1, 9, 15, 15]), torch.Size([4, 1, 15, 1]))
    """
    count = point_before(cache.weights, layer).layer
    found = [cache.need(activation_name, index, sublayer_type) for index in range(max(count, 1))]
    return torch.stack(found)[:count]


# --- what they share --------------------------------------------------------------------------------------------------


def computed_dtype(cache: Activations) -> torch.dtype:
    """What comes of an activation and a weight."""
    return torch.promote_types(cache.like()[1], cache.weights.dtype)


def point_scale(cache: Activations, point: Point, positions: Slice) -> Float[Tensor, "*batch_and_pos 1"] | None:
    """The scale of the norm at a point, if there is one."""
    norm = point.norm(cache.weights)
    return None if norm is None else positions.apply(cache.stored_norm_scale(norm), dim=-2)


def stacked(
    cache: Activations,
    parts: Sequence[Rows],
    read: Reader,
    point: Point,
    positions: Slice,
    incl_remainder: bool = False,
    return_labels: bool = False,
) -> Labelled:
    """The stack of all rows, with the rest of the stream at ``point`` and the labels as they are asked for."""
    total = positions.apply(point.stream(cache), dim=-2) if incl_remainder else None
    stack = assemble(parts, read, cache.places(positions), cache.weights, total)
    if not return_labels:
        return stack
    return stack, [label for part in parts for label in part.labels()] + ["remainder"] * incl_remainder


def _normalised(cache: Activations, stack: Tensor, point: Point, positions: Slice) -> Tensor:
    """A stack of ours, which may be overwritten, through the norm at ``point``."""
    scale = point_scale(cache, point, positions)
    if scale is not None:
        stack = stack.to(torch.promote_types(stack.dtype, scale.dtype))
    return apply_norm(stack, point.norm(cache.weights), scale, in_place=True)


def _reader(cache: Activations, point: Point, positions: Slice, apply_ln: bool, project_onto: Tensor | None) -> Reader:
    scale = point_scale(cache, point, positions) if apply_ln else None
    return reader(computed_dtype(cache), point.norm(cache.weights), scale, project_onto, cache.weights.d_model)


def _projection(project_onto: Tensor | None, project_output_onto: Tensor | None) -> Tensor | None:
    if project_onto is not None and project_output_onto is not None:
        raise InputError("`project_onto` and `project_output_onto` are the same argument. Give one of them.")
    return project_output_onto if project_onto is None else project_onto
