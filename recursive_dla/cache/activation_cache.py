"""The activations of one forward pass, and their decomposition into what each component wrote.

Names, arguments, defaults, shapes and labels are those of TransformerLens's ``ActivationCache``, so that code written
for it runs on this one unchanged. Three things differ: no method that computes something changes the cache, a norm
that keeps its own weight (a model that was not folded) is applied with it, and what has no meaning is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from recursive_dla.cache import checks, decompositions, files, logit_attributions
from recursive_dla.cache.activations import Activations
from recursive_dla.errors import CacheError
from recursive_dla.model.transformer_lens import model_weights


class ActivationCache(Activations):
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

    # Functions of modules below, each with the cache as its first argument.
    accumulated_resid = decompositions.accumulated_resid
    decompose_resid = decompositions.decompose_resid
    get_full_resid_decomposition = decompositions.get_full_resid_decomposition
    compute_head_results = decompositions.compute_head_results
    stack_head_results = decompositions.stack_head_results
    get_neuron_results = decompositions.get_neuron_results
    stack_neuron_results = decompositions.stack_neuron_results
    stack_activation = decompositions.stack_activation
    apply_ln_to_stack = logit_attributions.apply_ln_to_stack
    logit_attrs = logit_attributions.logit_attrs
    check = checks.check

    def save(self, path: str | Path) -> Path:
        """Write the cache to one safetensors file: every tensor once, its names, and what model it is of.

        Written under a temporary name and moved into place. The same cache gives the same bytes.

        Args:
            path: The file; an older one is replaced.

        Returns:
            The path.

        Raises:
            InputError: The file cannot be written; nothing is left behind.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> with TemporaryDirectory() as folder:
            ...     path = cache.save(f"{folder}/prompt.safetensors")
            ...     loaded = ActivationCache.load(path, model)
            >>> torch.equal(loaded["pattern", 3], cache["pattern", 3])
            True
        """
        return files.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, model: Any) -> ActivationCache:
        """Read what :meth:`save` wrote, onto the model's device.

        Args:
            path: The file.
            model: The model that the cache is of, with the same weights as when it was saved.

        Raises:
            CacheError: There is no such file, it is no cache of this package, it is damaged, or it is another model's.
        """
        activations, has_batch_dim = files.load(Path(path), model_weights(model))
        return cls(activations, model, has_batch_dim)


# Of caches that are not ours, those of ours that were made for them: so that none is checked twice.
_MADE: WeakKeyDictionary[Any, ActivationCache] = WeakKeyDictionary()


def as_cache(cache: Any, model: Any = None) -> ActivationCache:
    """``cache`` as an :class:`ActivationCache` of ``model``, sharing its tensors.

    Accepts ours, TransformerLens's own, or a plain dictionary of activations. Whatever was known of it is forgotten if
    it, or the model, was changed since (:mod:`recursive_dla.cache.fingerprints`).

    Args:
        cache: The cache.
        model: The model that made it; by default the one that the cache knows.

    Raises:
        CacheError: It is no cache, or knows of no model.
    """
    ours = _ours(cache, model)
    if ours.verified is not None and not ours.verified.holds(ours):
        ours.forget_model()
    return ours


def _ours(cache: Any, model: Any) -> ActivationCache:
    if isinstance(cache, ActivationCache):
        same = model is None or cache.model is model
        return cache if same else ActivationCache(cache.cache_dict, model, cache.has_batch_dim)
    activations = getattr(cache, "cache_dict", cache)
    if not isinstance(activations, Mapping):
        raise CacheError(
            f"Expected a cache from model.run_with_cache(...). Got {type(cache).__name__}."
            " Call `logits, cache = model.run_with_cache(tokens)` and pass the second of the two."
        )
    model = getattr(cache, "model", None) if model is None else model
    if model is None:
        raise CacheError(
            f"This {type(cache).__name__} does not know its model. Make an ActivationCache of it:"
            " ActivationCache(activations, model)."
        )
    made = ActivationCache(activations, model, getattr(cache, "has_batch_dim", True))
    try:
        known = _MADE.get(cache)
    except TypeError:  # a dictionary, say, which cannot be remembered
        return made
    if known is None or known.model is not model or not known.holds_the_same(made):
        _MADE[cache] = known = made
    return known


def check(cache: Any) -> checks.CheckReport:
    """Verify that a cache and its model belong together and that attribution's identities hold.

    Residual stream = sum of its writers; norm scales = those of the cached stream; ``z = A v``; attention output, MLP
    pre-activations and MLP output = the weights applied; final logits reproduced, if they were cached.

    Args:
        cache: Ours, or TransformerLens's own.

    Returns:
        The report, with every identity's error.

    Raises:
        CacheError: Activations are missing, have the wrong shape, or break an identity; the first is named.

    Example:
        >>> check(cache).failed
        ()
    """
    return checks.check(as_cache(cache))
