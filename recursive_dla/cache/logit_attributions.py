"""Stacks through norms, and along the unembedding directions of tokens: direct logit attribution.

Each public function is the method of :class:`recursive_dla.ActivationCache` that has its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache.activations import Activations
from recursive_dla.cache.component_stacks import HeadRows, Rows, all_rows, cached_rows, neuron_rows
from recursive_dla.cache.decompositions import Directions, Labelled, computed_dtype, point_scale, stacked
from recursive_dla.cache.norms import apply_norm, normalise_by_itself, precise
from recursive_dla.cache.projections import Reader, along, reader, reader_at_each_place
from recursive_dla.cache.residual_points import Point, point_before, written_before
from recursive_dla.cache.slices import EVERYTHING, Slice, SliceInput
from recursive_dla.errors import InputError
from recursive_dla.model.tokens import token_ids

Tokens = str | int | Tensor
Named = Literal["layers", "heads", "neurons", "full"]


def apply_ln_to_stack(
    cache: Activations,
    residual_stack: Float[Tensor, "component *batch_and_pos d_model"],
    layer: int | None = None,
    mlp_input: bool = False,
    pos_slice: SliceInput = None,
    batch_slice: SliceInput = None,
    has_batch_dim: bool = True,
    recompute_ln: bool = False,
) -> Float[Tensor, "component *batch_and_pos_taken d_model"]:
    """A stack of components scaled as a norm scales the whole stream: by its cached scale and its own weight.

    LayerNorm also centres each component. The norm's bias belongs to no component and is not added, so the results
    sum to the normalised stream less that bias.

    Args:
        residual_stack: The components, over the positions of ``pos_slice`` and all prompts.
        layer: The layer whose norm it is; ``None``, ``-1`` or ``n_layers`` for the final norm.
        mlp_input: The norm before that layer's MLP instead of its attention.
        pos_slice: The positions that were taken when the stack was made.
        batch_slice: The prompts to take; of a stack without a batch dimension, the one it is of.
        has_batch_dim: Whether the stack has a batch dimension.
        recompute_ln: At the end of the model, normalise each component by its own statistics, with the norm's
            weight and bias.

    Raises:
        InputError: The stack does not fit the cache and the slices.

    Example:
        >>> scaled = cache.apply_ln_to_stack(cache.decompose_resid())
        >>> torch.allclose(scaled.sum(0), cache["ln_final.hook_out"], atol=1e-3)
        True
    """
    point = point_before(cache.weights, layer, mlp_input)
    norm = point.norm(cache.weights)
    prompts = Slice(batch_slice)
    stack = prompts.apply(residual_stack, dim=1) if has_batch_dim else residual_stack
    if recompute_ln and point.layer == cache.weights.n_layers:
        return normalise_by_itself(stack, norm)
    return apply_norm(stack, norm, _scale_of_stack(cache, stack, point, Slice(pos_slice), prompts, has_batch_dim))


def logit_attrs(
    cache: Activations,
    residual_stack: Float[Tensor, "component *batch_and_pos d_model"] | Named,
    tokens: Tokens | None = None,
    incorrect_tokens: Tokens | None = None,
    pos_slice: SliceInput = None,
    batch_slice: SliceInput = None,
    has_batch_dim: bool = True,
    *,
    project_onto: Directions = None,
    return_labels: bool = False,
) -> Labelled:
    """Direct logit attribution: how much each component adds to the logit of a token.

    The dot product of each component, scaled by the final norm, with the token's unembedding direction. Over the
    components of a whole decomposition it sums to the logit, less the final norm's bias and ``b_U``.

    Args:
        residual_stack: Components, as the ``stack_*`` and ``decompose_*`` methods give them, over all prompts. Or
            the name of a decomposition of the whole model, which is then projected while it is stacked:
            ``"layers"`` (:meth:`decompose_resid`), ``"heads"`` (:meth:`stack_head_results`), ``"neurons"``
            (:meth:`stack_neuron_results`) or ``"full"`` (:meth:`get_full_resid_decomposition`).
        tokens: The token: a string, an id, or a tensor of shape ``[]``, ``[batch]`` or ``[batch position]``, over
            the prompts and positions that are taken. A tensor as long as there are positions, and not prompts, is
            one token for each position.
        incorrect_tokens: The token to subtract, in the same form, for the logit difference.
        pos_slice: The positions that were taken when the stack was made; those to take, of a named one.
        batch_slice: The prompts to take.
        has_batch_dim: Whether the stack has a batch dimension.
        project_onto: Instead of ``tokens``: a direction behind the final norm, or several.
        return_labels: Return ``(attributions, labels)``, for a named decomposition.

    Returns:
        ``[component *batch_and_pos]``, in logits; positive raises the token. For several directions,
        ``[component *batch_and_pos direction]``.

    Raises:
        InputError: Tokens that do not fit each other or the stack, or a string that is not one token.

    Example:
        >>> stack = cache.decompose_resid(pos_slice=-1)
        >>> cache.logit_attrs(stack, " Mary", " John", pos_slice=-1).sum().item()  # doctest: +ELLIPSIS
        5.576...
        >>> values, labels = cache.logit_attrs("neurons", " Mary", " John", pos_slice=-1, return_labels=True)
        >>> labels[values[:, 0].argmax()]
        'L26N1262'
    """
    prompts, positions = Slice(batch_slice), Slice(pos_slice)
    if isinstance(residual_stack, str):
        taken = cache if prompts.mode == "empty" else cache.apply_slice_to_batch_dim(prompts)
        return _projected(
            taken, residual_stack, tokens, incorrect_tokens, positions, project_onto, return_labels=return_labels
        )
    if return_labels:
        raise InputError("A stack given as a tensor has no labels here; the method that made it returns them.")
    stack = prompts.apply(residual_stack, dim=1) if has_batch_dim else residual_stack
    end = point_before(cache.weights, None)
    scale = _scale_of_stack(cache, stack, end, positions, prompts, has_batch_dim)
    places = stack.shape[1:-1] if scale is None else scale.shape[:-1]
    read = _logit_reader(cache, tokens, incorrect_tokens, project_onto, scale, places)
    assert read.directions is not None
    attributions = along(stack, read.directions)
    if read.scale is not None:
        attributions = attributions / read.scale
    return attributions[..., 0] if read.one else attributions


@torch.no_grad()
def _projected(
    cache: Activations,
    name: str,
    tokens: Tokens | None,
    incorrect_tokens: Tokens | None,
    positions: Slice,
    project_onto: Tensor | None,
    return_labels: bool,
) -> Labelled:
    """:meth:`logit_attrs` of a decomposition of the whole model, by name."""
    end = point_before(cache.weights, None)
    scale = point_scale(cache, end, positions)
    read = _logit_reader(cache, tokens, incorrect_tokens, project_onto, scale, cache.places(positions))
    if name == "layers":
        rows: Sequence[Rows] = cached_rows(cache, written_before(cache, end), positions)
    elif name == "heads":
        rows = [HeadRows(cache, range(end.layer), positions)]
    elif name == "neurons":
        rows = neuron_rows(cache, end.layer, positions, EVERYTHING)
    elif name == "full":
        rows = all_rows(cache, end, positions)
    else:
        raise InputError(
            f"A decomposition is called 'layers', 'heads', 'neurons' or 'full'. Got {name!r}; or give a stack."
        )
    return stacked(cache, rows, read, end, positions, return_labels=return_labels)


def _logit_reader(
    cache: Activations,
    tokens: Tokens | None,
    incorrect_tokens: Tokens | None,
    project_onto: Tensor | None,
    scale: Tensor | None,
    places: Sequence[int],
) -> Reader:
    """Reads along the directions of the tokens, or ``project_onto``, through the final norm."""
    weights = cache.weights
    dtype = computed_dtype(cache)
    if project_onto is not None:
        if tokens is not None or incorrect_tokens is not None:
            raise InputError("`project_onto` takes the place of `tokens` and `incorrect_tokens`. Got both.")
        return reader(dtype, weights.final_norm, scale, project_onto, weights.d_model)
    if tokens is None:
        raise InputError("Give `tokens`, or a direction as `project_onto`. Got neither.")
    directions = _unembedding(cache, tokens)
    if incorrect_tokens is not None:
        wrong = _unembedding(cache, incorrect_tokens)
        if wrong.shape != directions.shape:
            raise InputError(
                "`tokens` and `incorrect_tokens` must have the same shape."
                f" Got {tuple(directions.shape[:-1])} and {tuple(wrong.shape[:-1])}."
            )
        directions = directions - wrong
    if directions.numel() == weights.d_model:
        return reader(dtype, weights.final_norm, scale, directions.flatten(), weights.d_model)
    return reader_at_each_place(dtype, weights.final_norm, scale, _at_places(directions, places))


def _unembedding(cache: Activations, tokens: Tokens) -> Float[Tensor, "*token d_model"]:
    W_U = cache.weights.W_U
    if not isinstance(tokens, Tensor):
        tokens = token_ids(cache.model, tokens)[0]
    elif tokens.is_floating_point() or not bool(((tokens >= 0) & (tokens < W_U.shape[1])).all()):
        raise InputError(f"Token ids must be integers from 0 to {W_U.shape[1] - 1}. Got {tokens!r}.")
    directions = W_U[:, tokens.long().to(W_U.device)]
    return rearrange(directions, "d_model ... -> ... d_model").to(precise(W_U.dtype))


def _scale_of_stack(
    cache: Activations, stack: Tensor, point: Point, positions: Slice, prompts: Slice, has_batch_dim: bool
) -> Tensor | None:
    """The scale at ``point`` for the positions and prompts that a user's stack is over."""
    scale = point_scale(cache, point, positions)
    if scale is None:
        return None
    if cache.has_batch_dim:
        scale = prompts.apply(scale, dim=0)
        if not has_batch_dim and prompts.mode != "int":
            if len(scale) != 1:
                raise InputError(
                    f"The stack has no batch dimension, and the cache has {len(scale)} prompts."
                    " Give the one it is of, as in batch_slice=0."
                )
            scale = scale[0]
    places = tuple(scale.shape[:-1])
    if stack.ndim < scale.ndim + 1 or tuple(stack.shape[-scale.ndim : -1]) != places:
        raise InputError(
            "The stack must be over the positions of `pos_slice` and the prompts of `batch_slice`:"
            f" expected [component, {', '.join(map(str, (*places, stack.shape[-1])))}]. Got {tuple(stack.shape)}."
        )
    return scale


def _at_places(directions: Tensor, places: Sequence[int]) -> Float[Tensor, "*batch_and_pos d_model"]:
    """Directions for some tokens at every place: one for each prompt, for each position, or for each of both."""
    tokens, d_model = tuple(directions.shape[:-1]), directions.shape[-1]
    fits = False
    if len(tokens) == 1 and len(places) == 2 and tokens[0] == places[0]:
        directions, fits = directions[:, None], True
    elif len(tokens) <= len(places):
        fits = all(given in (1, size) for given, size in zip(tokens, tuple(places)[-len(tokens) :], strict=True))
    if not fits:
        expected = [tuple(places[:1]), tuple(places[1:]), tuple(places)] if len(places) == 2 else [tuple(places)]
        raise InputError(
            f"`tokens` must hold one token, or have one of the shapes {', '.join(map(str, expected))} of the prompts"
            f" and positions. Got {tokens}."
        )
    return directions.expand(*places, d_model)
