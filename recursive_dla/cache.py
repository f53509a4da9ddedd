"""The activations of one forward pass, and their decomposition into what each component wrote.

Names, arguments, defaults, shapes and labels are those of TransformerLens's ``ActivationCache``, so that code written
for it runs on this one unchanged. Two things differ: no method that computes something changes the cache, and a norm
that keeps its own weight (a model that was not folded) is applied with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from recursive_dla.adapters import ModelWeights, Norm, model_weights, token_ids
from recursive_dla.errors import CacheError, InputError
from recursive_dla.linear import apply_norm
from recursive_dla.names import activation_name
from recursive_dla.slices import Slice, SliceInput


class ActivationCache(Mapping[str, Tensor]):
    """The activations of one forward pass, by hook name.

    Args:
        cache_dict: Activations by full hook name, as ``run_with_cache`` gives them. The tensors are not copied.
        model: The model they come from: a ``TransformerBridge`` or a ``HookedTransformer``.
        has_batch_dim: Whether the activations start with a batch dimension.

    Example:
        >>> cache["pattern", -1].shape
        torch.Size([1, 9, 15, 15])
        >>> stack, labels = cache.decompose_resid(return_labels=True)
        >>> stack.shape, labels[:3]
        (torch.Size([61, 1, 15, 576]), ['embed', '0_attn_out', '0_mlp_out'])
    """

    def __init__(self, cache_dict: Mapping[str, Tensor], model: Any, has_batch_dim: bool = True) -> None:
        self._activations = dict(cache_dict)
        self.model = model
        self.has_batch_dim = has_batch_dim
        self.has_embed = "hook_embed" in self._activations
        self.has_pos_embed = "hook_pos_embed" in self._activations
        # Set by checks.ensure_checked once the cache passed.
        self.verified_versions: int | None = None

    @property
    def cache_dict(self) -> Mapping[str, Tensor]:
        """The activations by full hook name, read-only."""
        return MappingProxyType(self._activations)

    @cached_property
    def weights(self) -> ModelWeights:
        """The uniform view of the model's weights that every method here works with."""
        return model_weights(self.model)

    def __getitem__(self, key: str | tuple[Any, ...]) -> Tensor:
        """An activation by full hook name, by shorthand, or by ``(name, layer, sublayer)``; negative layers count
        back.
        """
        if key in self._activations:
            return self._activations[key]
        if isinstance(key, str):
            name = activation_name(key)
        else:
            head, layer, *rest = (*key, None)
            if layer is not None and layer < 0:
                layer += self.weights.n_layers
            name = activation_name(head, layer, rest[0] if rest else None)
        try:
            return self._activations[name]
        except KeyError:
            raise KeyError(f"{name} is not in the cache, which holds {len(self)} activations.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)

    def __repr__(self) -> str:
        size = sum(tensor.numel() * tensor.element_size() for tensor in self._activations.values())
        return f"ActivationCache({len(self)} activations, {size / 2**20:,.1f} MiB, has_batch_dim={self.has_batch_dim})"

    def batched(self, name: str, layer: int | None = None, sublayer: str | None = None) -> Tensor:
        """An activation with its batch dimension, whether or not the cache has one.

        Raises:
            CacheError: It was not cached. The message tells how to cache it.
        """
        full_name = activation_name(name, layer, sublayer)
        try:
            activation = self._activations[full_name]
        except KeyError:
            raise CacheError(
                f"The cache lacks {full_name}, which is needed here. Cache every activation: "
                "`logits, cache = model.run_with_cache(tokens)`, without a names_filter."
            ) from None
        return activation if self.has_batch_dim else activation[None]

    def tokens(self) -> Int[Tensor, "batch pos"] | None:
        """The token ids of the prompts: as cached, else found by their embeddings; ``None`` if neither tells."""
        if "embed.hook_in" in self._activations:
            ids = self._activations["embed.hook_in"]
            return ids if ids.ndim == 2 else ids[None]
        embed = self.batched("embed")
        # Token and vocabulary are matched along one direction, and the match is then confirmed in full.
        direction = torch.linspace(-1, 1, embed.shape[-1], dtype=embed.dtype, device=embed.device)
        vocabulary, order = (self.weights.W_E @ direction).sort()
        place = torch.searchsorted(vocabulary, embed @ direction).clamp(1, len(vocabulary) - 1)
        ids = order[torch.stack([place - 1, place])]
        exact = (self.weights.W_E[ids] == embed).all(-1)
        return torch.where(exact[1], ids[1], ids[0]) if exact.any(0).all() else None

    def decompose_resid(
        self,
        layer: int | None = None,
        mlp_input: bool = False,
        mode: Literal["all", "mlp", "attn"] = "all",
        apply_ln: bool = False,
        pos_slice: SliceInput = None,
        incl_embeds: bool = True,
        return_labels: bool = False,
    ) -> Any:
        """The additive writers into the residual stream, one layer's attention or MLP at a time.

        They sum to the residual stream entering ``layer`` (its MLP, with ``mlp_input``).

        Args:
            layer: The layer before which to stop; ``None``, ``-1`` or ``n_layers`` for the whole model.
            mlp_input: Stop before that layer's MLP instead of its attention.
            mode: Which layers' outputs: ``"all"``, only ``"mlp"``, or only ``"attn"``.
            apply_ln: Scale the stack as that point's norm scales the whole stream.
            pos_slice: The positions to take.
            incl_embeds: Whether to include the token and position embeddings.
            return_labels: Return ``(stack, labels)``, with labels ``embed``, ``pos_embed``, ``0_attn_out``, …

        Returns:
            ``[component, *batch_and_pos, d_model]``.
        """
        if mode not in ("all", "mlp", "attn"):
            raise InputError(f"`mode` must be 'all', 'mlp' or 'attn'. Got {mode!r}.")
        layer = self._up_to(layer)
        names: list[tuple[Any, ...]] = []
        labels: list[str] = []
        if incl_embeds:
            for label, present in (("embed", self.has_embed), ("pos_embed", self.has_pos_embed)):
                if present:
                    names.append((label,))
                    labels.append(label)
        for written in range(layer + 1):
            last = written == layer
            if mode != "mlp" and (not last or (mlp_input and layer < self.weights.n_layers)):
                names.append(("attn_out", written))
                labels.append(f"{written}_attn_out")
            if mode != "attn" and self.weights.has_mlp and not last:
                names.append(("mlp_out", written))
                labels.append(f"{written}_mlp_out")
        positions = Slice(pos_slice)
        stack = torch.stack([positions.apply(self[name], dim=-2) for name in names])
        if apply_ln:
            stack = self.apply_ln_to_stack(
                stack, layer, mlp_input=mlp_input, pos_slice=positions, has_batch_dim=self.has_batch_dim
            )
        return (stack, labels) if return_labels else stack

    def stack_head_results(
        self,
        layer: int | None = -1,
        return_labels: bool = False,
        incl_remainder: bool = False,
        pos_slice: SliceInput = None,
        apply_ln: bool = False,
    ) -> Any:
        """What each head wrote to the residual stream, ``z W_O``, for all layers before ``layer``.

        Args:
            layer: The layer before which to stop; ``None``, ``-1`` or ``n_layers`` for the whole model.
            return_labels: Return ``(stack, labels)``, with labels ``L0H0``, ``L0H1``, …
            incl_remainder: Append the rest of the residual stream as ``remainder``, so that the stack sums to it.
            pos_slice: The positions to take.
            apply_ln: Scale the stack as that point's norm scales the whole stream.

        Returns:
            ``[layer·head, *batch_and_pos, d_model]``.
        """
        layer = self._up_to(layer)
        positions = Slice(pos_slice)
        n_heads = self.weights.n_heads
        target = self["resid_pre", layer] if layer < self.weights.n_layers else self["resid_post", -1]
        target = positions.apply(target, dim=-2)
        remainder = [] if not incl_remainder else [target]
        stack = target.new_empty((layer * n_heads + len(remainder), *target.shape))
        for source in range(layer):
            z = positions.apply(self["z", source], dim=-3)
            stack[source * n_heads : (source + 1) * n_heads] = einsum(
                z, self.weights.layers[source].attention.W_O, "... head d_head, head d_head d_model -> head ... d_model"
            )
        labels = [f"L{source}H{head}" for source in range(layer) for head in range(n_heads)]
        if incl_remainder:
            stack[-1] = target - stack[:-1].sum(0)
            labels.append("remainder")
        if apply_ln:
            stack = self.apply_ln_to_stack(stack, layer, pos_slice=positions, has_batch_dim=self.has_batch_dim)
        return (stack, labels) if return_labels else stack

    def logit_attrs(
        self,
        residual_stack: Float[Tensor, "component *batch_and_pos d_model"],
        tokens: str | int | Tensor,
        incorrect_tokens: str | int | Tensor | None = None,
        pos_slice: SliceInput = None,
        batch_slice: SliceInput = None,
        has_batch_dim: bool = True,
    ) -> Float[Tensor, "component *batch_and_pos"]:
        """Direct logit attribution: how much each component adds to the logit of a token.

        The dot product of each component, scaled by the final norm, with the token's unembedding direction. Over the
        components of a whole decomposition it sums to the logit, less the final norm's bias and ``b_U``.

        Args:
            residual_stack: Components, as the ``stack_*`` and ``decompose_*`` methods give them.
            tokens: The token: a string, an id, or a tensor of shape ``[]``, ``[batch]`` or ``[batch, position]``.
            incorrect_tokens: The token to subtract, in the same form, for the logit difference.
            pos_slice: The positions that were taken when the stack was made.
            batch_slice: The prompts that were taken when the stack was made.
            has_batch_dim: Whether the stack has a batch dimension.

        Returns:
            Logits; positive raises the token.
        """
        direction = self._unembedding(tokens)
        if incorrect_tokens is not None:
            wrong = self._unembedding(incorrect_tokens)
            if wrong.shape != direction.shape:
                raise InputError(
                    "`tokens` and `incorrect_tokens` must have the same shape."
                    f" Got {tuple(direction.shape[:-1])} and {tuple(wrong.shape[:-1])}."
                )
            direction = direction - wrong
        scaled = self.apply_ln_to_stack(
            residual_stack, pos_slice=pos_slice, batch_slice=batch_slice, has_batch_dim=has_batch_dim
        )
        per_prompt = direction.ndim == 2 and scaled.ndim == 4 and direction.shape[0] == scaled.shape[1]
        if per_prompt and has_batch_dim and Slice(batch_slice).mode != "int":
            direction = direction[:, None]
        return einsum(scaled, direction.expand(scaled.shape[1:]), "component ... d_model, ... d_model -> component ...")

    def apply_ln_to_stack(
        self,
        residual_stack: Float[Tensor, "component *batch_and_pos d_model"],
        layer: int | None = None,
        mlp_input: bool = False,
        pos_slice: SliceInput = None,
        batch_slice: SliceInput = None,
        has_batch_dim: bool = True,
    ) -> Float[Tensor, "component *batch_and_pos d_model"]:
        """A stack of components scaled as a norm scales the whole stream: by its cached scale and its own weight.

        LayerNorm also centres each component. The norm's bias belongs to no component and is not added, so the results
        sum to the normalised stream less that bias.

        Args:
            residual_stack: The components.
            layer: The layer whose norm it is; ``None``, ``-1`` or ``n_layers`` for the final norm.
            mlp_input: The norm before that layer's MLP instead of its attention.
            pos_slice: The positions that were taken when the stack was made.
            batch_slice: The prompts that were taken when the stack was made.
            has_batch_dim: Whether the stack has a batch dimension.
        """
        layer = self._up_to(layer)
        norm, scale = self._norm_and_scale(layer, mlp_input)
        scale = Slice(pos_slice).apply(scale, dim=-2)
        if self.has_batch_dim and has_batch_dim:
            scale = Slice(batch_slice).apply(scale, dim=0)
        return apply_norm(residual_stack, norm, scale)

    def _up_to(self, layer: int | None) -> int:
        n_layers = self.weights.n_layers
        if layer is None or layer == -1:
            return n_layers
        if not 0 <= layer <= n_layers:
            raise InputError(f"`layer` must be from 0 to {n_layers}, -1 or None. Got {layer}.")
        return layer

    def _norm_and_scale(self, layer: int, mlp_input: bool) -> tuple[Norm, Tensor]:
        if layer == self.weights.n_layers:
            return self.weights.final_norm, self["scale"]
        block = self.weights.layers[layer]
        if not mlp_input:
            return block.attention.norm, self["scale", layer, "ln1"]
        if block.mlp is None:
            raise InputError("`mlp_input` needs an MLP, and this model has only attention.")
        return block.mlp.norm, self["scale", layer, "ln2"]

    def _unembedding(self, tokens: str | int | Tensor) -> Float[Tensor, "*token d_model"]:
        if not isinstance(tokens, Tensor):
            tokens = token_ids(self.model, tokens)[0]
        return rearrange(self.weights.W_U[:, tokens.to(self.weights.device)], "d_model ... -> ... d_model")


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
