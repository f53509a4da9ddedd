"""Caches as figures take them: any that knows its model, and a place in its batch."""

from __future__ import annotations

from typing import Any

from recursive_dla.cache.activation_cache import ActivationCache, as_cache
from recursive_dla.errors import InputError


def own_cache(cache: Any) -> ActivationCache:
    """Any cache that knows its model, as an :class:`recursive_dla.ActivationCache`.

    Raises:
        InputError: It does not know its model.
    """
    if isinstance(cache, ActivationCache):
        return cache
    if getattr(cache, "model", None) is None:
        raise InputError(
            f"Expected an ActivationCache. Got {type(cache).__name__};"
            " make one with ActivationCache(activations, model)."
        )
    return as_cache(cache, cache.model)


def prompt_of(cache: ActivationCache, prompt: int) -> int:
    """A place in the batch, counted from 0.

    Raises:
        InputError: There is no such prompt.
    """
    batch = len(cache.batched("embed"))
    if not -batch <= prompt < batch:
        raise InputError(f"The cache is of {batch} prompts. Got prompt={prompt}.")
    return prompt % batch
