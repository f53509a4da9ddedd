"""The activations of one forward pass, by hook name: look them up, move them, take prompts out of them.

This is all that computations need; :class:`recursive_dla.ActivationCache` adds the methods of TransformerLens.
"""

from __future__ import annotations

import logging
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recursive_dla.cache.hook_names import activation_name, is_second_name, without_layer
from recursive_dla.cache.slices import Slice, SliceInput
from recursive_dla.errors import CacheError, InputError
from recursive_dla.model.transformer_lens import model_weights
from recursive_dla.model.weights import ModelWeights, Norm, is_half

logger = logging.getLogger(__name__)
Cache = TypeVar("Cache", bound="Activations")


class Activations(Mapping[str, Tensor]):
    """Activations by hook name, and the weights that they go with.

    Args:
        cache_dict: Activations by full hook name, as ``run_with_cache`` gives them. The tensors are not copied.
        model: The model they come from: a ``TransformerBridge`` or a ``HookedTransformer``.
        has_batch_dim: Whether the activations start with a batch dimension.
    """

    def __init__(self, cache_dict: Mapping[str, Tensor | None], model: Any, has_batch_dim: bool = True) -> None:
        # A hook that fires without a tensor is cached as None.
        self._activations = {name: tensor for name, tensor in cache_dict.items() if tensor is not None}
        self.model = model
        self.has_batch_dim = has_batch_dim
        self.has_embed = "hook_embed" in self._activations
        self.has_pos_embed = "hook_pos_embed" in self._activations
        # What it and the model were like when the check passed (checks.ensure_checked).
        self.verified: Any = None

    # Two caches are equal if they are the same one: comparing tensors number by number is not what `==` is for.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def cache_dict(self) -> Mapping[str, Tensor]:
        """The activations by full hook name, read-only."""
        return MappingProxyType(self._activations)

    @cached_property
    def weights(self) -> ModelWeights:
        """The uniform view of the model's weights that every method here works with."""
        return model_weights(self.model)

    def holds_the_same(self, other: Activations) -> bool:
        """Whether the other one has the very same tensors by the same names, and as many dimensions."""
        return (
            self.has_batch_dim == other.has_batch_dim
            and len(self) == len(other)
            and all(other.cache_dict.get(name) is tensor for name, tensor in self._activations.items())
        )

    def forget_model(self) -> None:
        """Look the weights up again, and let them be checked again: the model, or an activation, was changed."""
        self.__dict__.pop("weights", None)
        self.verified = None

    # --- looking up --------------------------------------------------------------------------------------------------

    def __getitem__(self, key: str | tuple[Any, ...]) -> Tensor:
        """An activation by full hook name, by shorthand, or by ``(name, layer, sublayer)``; negative layers count
        back.

        Raises:
            KeyError: It was not cached.
        """
        if key in self._activations:
            return self._activations[key]
        name = self._full_name(key)
        try:
            return self._activations[name]
        except KeyError:
            raise KeyError(f"{name} is not in the cache, which holds {len(self)} activations.") from None

    def _full_name(self, key: Any) -> str:
        if isinstance(key, str):
            return activation_name(key)
        if not isinstance(key, tuple) or not 1 <= len(key) <= 3:
            raise KeyError(f"A key is a name or (name, layer, sublayer). Got {key!r}.")
        name, layer, sublayer = (*key, None, None)[:3]
        if layer is not None:
            layer = operator.index(layer)
            if layer < 0:
                layer += self.weights.n_layers
        return activation_name(name, layer, sublayer)

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
        except (KeyError, TypeError):
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)

    def __repr__(self) -> str:
        size = sum(self.memory().values())
        return f"ActivationCache({len(self)} activations, {size / 2**20:,.1f} MiB, has_batch_dim={self.has_batch_dim})"

    def memory(self) -> dict[str, int]:
        """The bytes that the cache keeps alive, by activation over all layers, the largest first.

        Memory that several names share is counted once. The values sum to the whole, which ``repr`` shows.

        Example:
            >>> sizes = cache.memory()
            >>> list(sizes)[:2], sizes["attn.hook_pattern"] == 30 * 9 * 15 * 15 * 4
            (['hook_unembed', 'mlp.hook_pre'], True)
        """
        sizes: Counter[str] = Counter()
        seen: set[int] = set()
        # A bridge caches most activations under several names; the one that counts is the one people know.
        for name in sorted(self._activations, key=is_second_name):
            memory = self._activations[name].untyped_storage()
            if memory.data_ptr() not in seen:
                seen.add(memory.data_ptr())
                sizes[without_layer(name)] += memory.nbytes()
        return dict(sizes.most_common())

    # --- for the methods that compute --------------------------------------------------------------------------------

    def need(self, name: str, layer: int | None = None, sublayer: str | None = None) -> Tensor:
        """An activation that a computation needs, as it is cached.

        Raises:
            CacheError: It was not cached. The message tells how to cache it.
        """
        full_name = activation_name(name, layer, sublayer)
        try:
            return self._activations[full_name]
        except KeyError:
            raise CacheError(
                f"The cache lacks {full_name}, which is needed here. Cache every activation: "
                "`logits, cache = model.run_with_cache(tokens)`, without a names_filter."
            ) from None

    def batched(self, name: str, layer: int | None = None, sublayer: str | None = None) -> Tensor:
        """An activation to compute with: with a batch dimension, and in float32 where it was cached in half precision.

        Raises:
            CacheError: It was not cached. The message tells how to cache it.
        """
        found = self.need(name, layer, sublayer)
        if is_half(found.dtype):
            found = found.to(torch.promote_types(torch.float32, self.weights.dtype))
        return found if self.has_batch_dim else found[None]

    def norm_scale(self, norm: Norm | None) -> Float[Tensor, "batch pos 1"]:
        """The cached scale of a norm, to compute with; one everywhere if there is no norm.

        Raises:
            CacheError: It was not cached, or is not of this forward pass.
        """
        embed = self.batched("embed")
        if norm is None:
            return embed.new_ones((*embed.shape[:2], 1))
        name = f"{norm.module}.hook_scale"
        scale = self.batched(name)
        if scale.numel() != embed[..., 0].numel():
            raise CacheError(
                f"{name} must have one value for each of {embed.shape[0]} prompts and {embed.shape[1]} positions. It"
                f" has shape {tuple(scale.shape)}; cache and model must come from the same forward pass."
            )
        # OPT computes some norms with batch and position flattened together.
        return scale.reshape(*embed.shape[:2], 1)

    def stored_norm_scale(self, norm: Norm) -> Float[Tensor, "*batch_and_pos 1"]:
        """The cached scale of a norm, as it is cached."""
        return self.need(f"{norm.module}.hook_scale").reshape(*self.like()[0], 1)

    def ensure_same_place(self) -> None:
        """Refuse activations that cannot be multiplied with the model's weights, as after either was moved.

        Raises:
            CacheError: They are on another device, or in another precision.
        """
        embed, weights = self.batched("embed"), self.weights
        if embed.device != weights.device:
            raise CacheError(
                f"The cache is on {embed.device} and the model on {weights.device}. "
                f"Move one: cache.to({str(weights.device)!r})."
            )
        needed = torch.float32 if is_half(weights.dtype) else weights.dtype
        if embed.dtype != needed:
            raise CacheError(
                f"The cache is to be computed with in {embed.dtype} and the model in {needed}. Run the model again, in"
                " the precision that it has now."
            )

    def like(self) -> tuple[torch.Size, torch.dtype]:
        """The axes ``batch_and_pos`` that most activations begin with, and the type of the residual stream.

        Raises:
            CacheError: No activation that would tell was cached.
        """
        for name, tensor in self._activations.items():
            short = without_layer(name)
            if short in _STREAMS:
                return tensor.shape[:-1], tensor.dtype
            if short == "attn.hook_z":
                return tensor.shape[:-2], tensor.dtype
        raise CacheError(f"The cache holds {len(self)} activations, but nothing of the residual stream and no `z`.")

    def places(self, positions: Slice) -> torch.Size:
        """The axes ``batch_and_pos`` once positions are taken."""
        return positions.apply(torch.empty(self.like()[0]), dim=-1).shape

    def cached_head_results(self, layer: int) -> Float[Tensor, "*batch_and_pos head d_model"] | None:
        """Each head's ``z W_O``, if the model or :meth:`ActivationCache.compute_head_results` left it in the cache."""
        results = self._activations.get(f"blocks.{layer}.attn.hook_result")
        # Some bridges cache something else under this name.
        if results is None or results.shape[-2] != self.weights.n_heads or results.ndim != 3 + self.has_batch_dim:
            return None
        return results

    def tokens(self) -> Int[Tensor, "batch pos"] | None:
        """The token ids of the prompts: as cached, else found by their embeddings; ``None`` if neither tells."""
        if "embed.hook_in" in self._activations:
            ids = self._activations["embed.hook_in"]
            return ids if ids.ndim == 2 else ids[None]
        embed = self.need("embed") if self.has_batch_dim else self.need("embed")[None]
        W_E = self.weights.W_E.to(embed.dtype)
        # Token and vocabulary are matched along one direction, and the match is then confirmed in full.
        direction = torch.linspace(-1, 1, embed.shape[-1], dtype=embed.dtype, device=embed.device)
        vocabulary, order = (W_E @ direction).sort()
        place = torch.searchsorted(vocabulary, embed @ direction).clamp(1, len(vocabulary) - 1)
        ids = order[torch.stack([place - 1, place])]
        exact = (W_E[ids] == embed).all(-1)
        return torch.where(exact[1], ids[1], ids[0]) if exact.any(0).all() else None

    # --- changing the whole ------------------------------------------------------------------------------------------

    def to(self: Cache, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Cache:
        """Move every activation, and return the cache itself.

        Names that share a tensor still share it afterwards.

        Args:
            device: Where to; most methods need the model there too.
            dtype: What floating-point activations become. ``torch.bfloat16`` halves the memory of a float32 cache; what
                is computed from it is computed in the type of the model's weights.

        Example:
            >>> cache.to("cpu") is cache
            True
        """
        self._activations = self._changed(
            lambda tensor: tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
        )
        self.verified = None
        return self

    def remove_batch_dim(self: Cache, batch_size: int | None = None) -> Cache:
        """Drop the batch dimension of a cache of one prompt, and return the cache itself.

        Args:
            batch_size: The number of prompts, if the activations alone do not tell.

        Raises:
            InputError: There are several prompts, or the batch dimension was removed before.

        Example:
            >>> one = cache.apply_slice_to_batch_dim((0, 1)).remove_batch_dim()
            >>> one["resid_post", -1].shape
            torch.Size([15, 576])
        """
        if not self.has_batch_dim:
            raise InputError("The cache has no batch dimension: it was removed before.")
        batch_size = self._batch_size() if batch_size is None else batch_size
        if batch_size != 1:
            raise InputError(
                f"Only a cache of one prompt can do without its batch dimension, and this one has {batch_size}."
                " Take one with apply_slice_to_batch_dim(0)."
            )
        self._activations = {
            name: tensor[0] if tensor.ndim and len(tensor) == 1 else tensor
            for name, tensor in self._activations.items()
        }
        self.has_batch_dim = False
        return self

    def apply_slice_to_batch_dim(self: Cache, batch_slice: SliceInput) -> Cache:
        """A new cache of some of the prompts; an int drops the batch dimension.

        Args:
            batch_slice: The prompts to take.

        Raises:
            InputError: The cache has no batch dimension, or not so many prompts.

        Example:
            >>> cache.apply_slice_to_batch_dim(0)["pattern", 0].shape
            torch.Size([9, 15, 15])
        """
        prompts = Slice(batch_slice)
        if prompts.mode != "empty" and not self.has_batch_dim:
            raise InputError("The cache has no batch dimension to take prompts from: it was removed before.")
        changed = self._activations if prompts.mode == "empty" else self._of_prompts(prompts)
        made = type(self)(changed, self.model, has_batch_dim=self.has_batch_dim and prompts.mode != "int")
        if "weights" in self.__dict__:
            made.weights = self.weights
        return made

    def _of_prompts(self, prompts: Slice) -> dict[str, Tensor]:
        batch_size = self._batch_size()

        def taken(tensor: Tensor) -> Tensor:
            # Some entries are the same for all prompts, and have one row.
            return prompts.apply(tensor) if tensor.ndim and len(tensor) == batch_size else tensor

        changed = self._changed(taken)
        for name, tensor in self._activations.items():
            if name.endswith(".hook_scale") and tensor.ndim == 2 and batch_size > 1:
                # OPT computes some norms with batch and position flattened together.
                changed[name] = prompts.apply(tensor.view(batch_size, -1, 1))
        return changed

    def toggle_autodiff(self, mode: bool = False) -> None:
        """Switch gradients on or off for the whole process, as ``torch.set_grad_enabled(mode)`` does."""
        logger.warning("Gradients are now %s for the whole process.", "on" if mode else "off")
        torch.set_grad_enabled(mode)

    def _batch_size(self) -> int:
        # Of what a partial cache may hold, most has a batch dimension.
        sizes = Counter(len(tensor) for tensor in self._activations.values() if tensor.ndim)
        return sizes.most_common(1)[0][0] if sizes else 1

    def _changed(self, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """All activations changed, each tensor once however many names it has."""
        done: dict[tuple[Any, ...], Tensor] = {}
        changed = {}
        for name, tensor in self._activations.items():
            same = same_tensor(tensor)
            if same not in done:
                done[same] = change(tensor)
            changed[name] = done[same]
        return changed


_STREAMS = frozenset(
    {"hook_embed", "hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out"}
)


def same_tensor(tensor: Tensor) -> tuple[Any, ...]:
    """What two tensors have in common that are the same memory seen in the same way."""
    return (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
