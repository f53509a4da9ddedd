"""Running a model so that only what attribution needs is cached."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from recursive_dla.cache.activation_cache import ActivationCache, as_cache
from recursive_dla.cache.hook_names import is_for_attribution
from recursive_dla.errors import InputError


@torch.no_grad()
def run_with_lean_cache(
    model: Any, prompts: Any, *, neurons: bool = True, **options: Any
) -> tuple[Any, ActivationCache]:
    """``model.run_with_cache``, caching only what this package needs, without gradients.

    That is the residual stream, what every attention and MLP wrote to it, patterns and ``z``, norm scales and the MLPs'
    pre-activations: less than half of everything. All functions of this package and all methods of the cache work with
    it; what neurons put out is computed from their pre-activations when it is needed. Left out are ``q``, ``k``, ``v``,
    scores, normalised streams and logits. ``cache.to(dtype=torch.bfloat16)`` halves it once more.

    Args:
        model: A ``TransformerBridge`` or a ``HookedTransformer``.
        prompts: A string, a list of them, or token ids ``[batch pos]``.
        neurons: Whether to cache the pre-activations. Without them the cache is a quarter to a third of everything, and
            no good for what looks into MLPs: breakdowns of MLPs, graphs, neurons, :func:`recursive_dla.check`.
        options: As ``run_with_cache`` takes them, such as ``prepend_bos``, ``device`` or ``remove_batch_dim``.

    Returns:
        The model's output, and its cache.

    Raises:
        InputError: ``names_filter`` is given, which this function chooses.

    Example:
        >>> logits, lean = run_with_lean_cache(model, "When John and Mary went to the store, John gave a drink to")
        >>> sum(lean.memory().values()) < 0.5 * sum(cache.memory().values())
        True
        >>> lean.check().failed
        ()
    """
    if "names_filter" in options:
        raise InputError("`names_filter` is what run_with_lean_cache chooses; with your own, use model.run_with_cache.")
    wanted = partial(is_for_attribution, neurons=neurons)
    output, cache = model.run_with_cache(prompts, names_filter=wanted, **options)
    return output, as_cache(cache, model)
