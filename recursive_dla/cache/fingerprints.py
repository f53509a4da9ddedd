"""Whether anything was written to a cache or its model since: cheap enough to be asked at every call.

Compared are which tensors there are and where, torch's counts of in-place writes, and some numbers of each, since
``.data``, numpy and ``.to()`` change tensors without being counted. What passes unseen is an edit behind torch's back
that leaves every number that is looked at as it was: of single entries of a large tensor, say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recursive_dla.cache.activations import Activations
from recursive_dla.model.weights import tensors_of

# How many numbers of each tensor are looked at.
_SAMPLES = 16


class _Place(NamedTuple):
    """Where a module keeps a parameter or a buffer, and which it was."""

    owner: Mapping[str, Any]
    name: str
    tensor: Tensor


class Fingerprint:
    """A cache and its model as they are now.

    Args:
        cache: The activations, and the model that they are of.
    """

    def __init__(self, cache: Activations) -> None:
        self._activations = dict(cache.cache_dict)
        self._places = _places(cache.model)
        # A model that is no torch module is known by its weights alone.
        of_model = [place.tensor for place in self._places] or list(tensors_of(cache.weights))
        tensors = [*self._activations.values(), *of_model]
        # Tensors of inference mode keep no count: what is written to them would pass unseen.
        self._all_count = not any(tensor.is_inference() for tensor in tensors)
        self._tensors = tensors if self._all_count else []
        self._samples = _samples(tensors)
        self._versions, self._memory, self._numbers = self._count(), self._addresses(), self._read()

    def holds(self, cache: Activations) -> bool:
        """Whether nothing that is looked at has changed; never, where writes are not counted at all."""
        found = cache.cache_dict
        return (
            self._all_count
            and len(found) == len(self._activations)
            and all(found.get(name) is tensor for name, tensor in self._activations.items())
            and all(owner.get(name) is tensor for owner, name, tensor in self._places)
            and self._count() == self._versions
            and self._addresses() == self._memory
            and all(torch.equal(now, then) for now, then in zip(self._read(), self._numbers, strict=True))
        )

    def _count(self) -> int:
        return sum(tensor._version for tensor in self._tensors)

    def _addresses(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self._tensors]

    def _read(self) -> list[Tensor]:
        return [torch.cat(views) for views in self._samples]


def _places(model: Any) -> list[_Place]:
    """Every parameter and buffer of a torch module, once."""
    if not isinstance(model, torch.nn.Module):
        return []
    found: dict[int, _Place] = {}
    for module in model.modules():
        for owner in (module._parameters, module._buffers):
            for name, tensor in owner.items():
                if tensor is not None:
                    found.setdefault(id(tensor), _Place(owner, name, tensor))
    return list(found.values())


def _samples(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Views of some numbers of each tensor's memory, by what can be put together: device and type."""
    groups: dict[Any, dict[int, Tensor]] = {}
    for tensor in tensors:
        memory = tensor.untyped_storage()
        size = memory.nbytes() // tensor.element_size()
        if size == 0 or tensor.layout != torch.strided:
            continue
        count = min(_SAMPLES, size)
        # Neighbours, from the middle: to gather them from all over would take as long as some computations do.
        view = tensor.detach().as_strided((count,), (1,), (size - count) // 2)
        groups.setdefault((tensor.device, tensor.dtype), {}).setdefault(memory.data_ptr(), view)
    return [list(views.values()) for views in groups.values()]
