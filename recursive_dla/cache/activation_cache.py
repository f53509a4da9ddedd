"""The activations of one forward pass, and their decomposition into what each component wrote.

Names, arguments, defaults, shapes and labels are those of TransformerLens's ``ActivationCache``, so that code written
for it runs on this one unchanged. Three things differ: no method that computes something changes the cache, a norm
that keeps its own weight (a model that was not folded) is applied with it, and what has no meaning is refused.

The class is made in three layers: :mod:`recursive_dla.cache.activations` (a dictionary of activations),
:mod:`recursive_dla.cache.decompositions` (stacks of what was written into the residual stream), and here norms and logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache.decompositions import Decompositions, Directions, Labelled
from recursive_dla.cache.norms import (
    Reader,
    along,
    normalise,
    normalise_by_itself,
    precise,
    reader,
    reader_at_each_place,
)
from recursive_dla.cache.slices import EVERYTHING, Slice, SliceInput
from recursive_dla.cache.stacks import Point, cached, everything, heads, neurons, point_before, writers
from recursive_dla.errors import CacheError, InputError
from recursive_dla.model.tokens import token_ids

Tokens = str | int | Tensor
Named = Literal["layers", "heads", "neurons", "full"]


class ActivationCache(Decompositions):
    """The activations of one forward pass, by hook name.

    Args:
        cache_dict: Activations by full hook name, as ``run_with_cache`` gives them. The tensors are not copied.
        model: The model they come from: a ``TransformerBridge`` or a ``HookedTransformer``.
        has_batch_dim: Whether the activations start with a batch dimension.

    Arguments that several methods share:

    * ``layer``: the layer before which to stop; ``None``, ``-1`` or ``n_layers`` for the end of the model.
    * ``mlp_input``: stop before that layer's MLP instead of its attention.
    * ``pos_slice``: the positions to take: ``None``, an int (drops the dimension), ``(start, stop)``,
      ``(start, stop, step)`` or a ``slice``, or a list, array or tensor of indices.
    * ``apply_ln``: scale the stack as the norm at that point scales the whole stream, see :meth:`apply_ln_to_stack`.
    * ``incl_remainder``: append the rest of the residual stream as ``remainder``, so that the stack sums to it.
    * ``project_onto``: read every component along this direction ``[d_model]``, or several ``[d_model direction]``,
      while stacking. The last axis of the result is ``direction``, or gone for one; no ``[component, …, d_model]`` is
      ever made. With ``apply_ln`` and a token's column of ``W_U`` this is direct logit attribution.
    * ``return_labels``: return ``(stack, labels)``.

    All of them raise :class:`~recursive_dla.CacheError` if the cache lacks an activation, and
    :class:`~recursive_dla.errors.InputError` for a ``layer`` or slice that does not exist.

    Example:
        >>> cache["pattern", -1].shape
        torch.Size([1, 9, 15, 15])
        >>> stack, labels = cache.decompose_resid(return_labels=True)
        >>> stack.shape, labels[:3]
        (torch.Size([61, 1, 15, 576]), ['embed', '0_attn_out', '0_mlp_out'])
    """

    def apply_ln_to_stack(
        self,
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
        point = point_before(self.weights, layer, mlp_input)
        norm = point.norm(self.weights)
        prompts = Slice(batch_slice)
        stack = prompts.apply(residual_stack, dim=1) if has_batch_dim else residual_stack
        if recompute_ln and point.layer == self.weights.n_layers:
            return normalise_by_itself(stack, norm)
        return normalise(stack, norm, self._scale_of_stack(stack, point, Slice(pos_slice), prompts, has_batch_dim))

    def logit_attrs(
        self,
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
            taken = self if prompts.mode == "empty" else self.apply_slice_to_batch_dim(prompts)
            return taken._projected(
                residual_stack, tokens, incorrect_tokens, positions, project_onto, return_labels=return_labels
            )
        if return_labels:
            raise InputError("A stack given as a tensor has no labels here; the method that made it returns them.")
        stack = prompts.apply(residual_stack, dim=1) if has_batch_dim else residual_stack
        end = point_before(self.weights, None)
        scale = self._scale_of_stack(stack, end, positions, prompts, has_batch_dim)
        places = stack.shape[1:-1] if scale is None else scale.shape[:-1]
        read = self._logit_reader(tokens, incorrect_tokens, project_onto, scale, places)
        assert read.directions is not None
        attributions = along(stack, read.directions)
        if read.scale is not None:
            attributions = attributions / read.scale
        return attributions[..., 0] if read.one else attributions

    @torch.no_grad()
    def _projected(
        self,
        name: str,
        tokens: Tokens | None,
        incorrect_tokens: Tokens | None,
        positions: Slice,
        project_onto: Tensor | None,
        return_labels: bool,
    ) -> Labelled:
        """:meth:`logit_attrs` of a decomposition of the whole model, by name."""
        end = point_before(self.weights, None)
        scale = self._point_scale(end, positions)
        read = self._logit_reader(tokens, incorrect_tokens, project_onto, scale, self.places(positions))
        if name == "layers":
            rows = cached(self, writers(self, end), positions, read)
        elif name == "heads":
            rows = heads(self, end.layer, positions, read)
        elif name == "neurons":
            rows = neurons(self, end.layer, positions, EVERYTHING, read)
        elif name == "full":
            rows = everything(self, end, positions, read)
        else:
            raise InputError(
                f"A decomposition is called 'layers', 'heads', 'neurons' or 'full'. Got {name!r}; or give a stack."
            )
        return self._stacked(rows, read, end, positions, return_labels=return_labels)

    def _logit_reader(
        self,
        tokens: Tokens | None,
        incorrect_tokens: Tokens | None,
        project_onto: Tensor | None,
        scale: Tensor | None,
        places: Sequence[int],
    ) -> Reader:
        """Reads along the directions of the tokens, or ``project_onto``, through the final norm."""
        weights = self.weights
        dtype = self._dtype()
        if project_onto is not None:
            if tokens is not None or incorrect_tokens is not None:
                raise InputError("`project_onto` takes the place of `tokens` and `incorrect_tokens`. Got both.")
            return reader(dtype, weights.final_norm, scale, project_onto, weights.d_model)
        if tokens is None:
            raise InputError("Give `tokens`, or a direction as `project_onto`. Got neither.")
        directions = self._unembedding(tokens)
        if incorrect_tokens is not None:
            wrong = self._unembedding(incorrect_tokens)
            if wrong.shape != directions.shape:
                raise InputError(
                    "`tokens` and `incorrect_tokens` must have the same shape."
                    f" Got {tuple(directions.shape[:-1])} and {tuple(wrong.shape[:-1])}."
                )
            directions = directions - wrong
        if directions.numel() == weights.d_model:
            return reader(dtype, weights.final_norm, scale, directions.flatten(), weights.d_model)
        return reader_at_each_place(dtype, weights.final_norm, scale, _at_places(directions, places))

    def _unembedding(self, tokens: Tokens) -> Float[Tensor, "*token d_model"]:
        W_U = self.weights.W_U
        if not isinstance(tokens, Tensor):
            tokens = token_ids(self.model, tokens)[0]
        elif tokens.is_floating_point() or not bool(((tokens >= 0) & (tokens < W_U.shape[1])).all()):
            raise InputError(f"Token ids must be integers from 0 to {W_U.shape[1] - 1}. Got {tokens!r}.")
        directions = W_U[:, tokens.long().to(W_U.device)]
        return rearrange(directions, "d_model ... -> ... d_model").to(precise(W_U.dtype))

    def _scale_of_stack(
        self, stack: Tensor, point: Point, positions: Slice, prompts: Slice, has_batch_dim: bool
    ) -> Tensor | None:
        """The scale at ``point`` for the positions and prompts that a user's stack is over."""
        scale = self._point_scale(point, positions)
        if scale is None:
            return None
        if self.has_batch_dim:
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


def as_cache(cache: Any, model: Any) -> ActivationCache:
    """``cache`` as an :class:`ActivationCache` of ``model``, sharing its tensors.

    Accepts ours, TransformerLens's own, or a plain dictionary of activations.
    """
    if isinstance(cache, ActivationCache):
        return cache if cache.model is model else ActivationCache(cache.cache_dict, model, cache.has_batch_dim)
    activations = getattr(cache, "cache_dict", cache)
    if not isinstance(activations, Mapping):
        raise CacheError(
            f"Expected a cache from model.run_with_cache(...). Got {type(cache).__name__}."
            " Call `logits, cache = model.run_with_cache(tokens)` and pass the second of the two."
        )
    return ActivationCache(activations, model, getattr(cache, "has_batch_dim", True))
