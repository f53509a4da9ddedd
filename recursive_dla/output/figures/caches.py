"""A place in the batch of a cache."""

from __future__ import annotations

from recursive_dla.cache.activation_cache import ActivationCache
from recursive_dla.errors import InputError


def prompt_of(cache: ActivationCache, prompt: int) -> int:
    """A place in the batch, counted from 0.

    Raises:
        InputError: There is no such prompt.
    """
    batch = len(cache.batched("embed"))
    if not -batch <= prompt < batch:
        raise InputError(f"The cache is of {batch} prompts. Got prompt={prompt}.")
    return prompt % batch
