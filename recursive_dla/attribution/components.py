"""The components of a model: what writes into the residual stream, in the order in which it writes, and their labels.

The order makes "everything written before this point" a prefix, which is what every breakdown and the sweep contract
with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from recursive_dla.errors import InputError
from recursive_dla.model.weights import ModelWeights


class Component(NamedTuple):
    """One additive writer into the residual stream.

    ``kind`` is ``embed``, ``pos_embed``, ``head``, ``mlp``, ``attn`` (all of a layer's attention) or ``bias`` (its
    ``b_O``). Embeddings are at layer -1; ``head`` is -1 where the component is not a head.
    """

    label: str
    kind: str
    layer: int
    head: int


@dataclass(frozen=True)
class Components:
    """All components at one granularity, in writing order.

    Attributes:
        all: The components.
        before_attention: For each layer, how many of them are written before its attention reads the stream.
        before_mlp: For each layer, how many before its MLP does (empty for attention-only models); as many as for the
            attention in a parallel block.
        mlp_places: For each layer, the place of its MLP.
    """

    all: tuple[Component, ...]
    before_attention: tuple[int, ...]
    before_mlp: tuple[int, ...]
    mlp_places: tuple[int, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(component.label for component in self.all)

    def __len__(self) -> int:
        return len(self.all)


def layer_components(weights: ModelWeights) -> Components:
    """Embeddings, then each layer's attention and MLP as one component each: ``embed``, ``0_attn_out``, ``0_mlp_out``,
    …
    """
    return _components(weights, split_heads=False)


def head_components(weights: ModelWeights) -> Components:
    """Embeddings, then each layer's heads, attention bias and MLP: ``embed``, ``L0H0``, …, ``0_b_O``, ``0_mlp_out``,
    …
    """
    return _components(weights, split_heads=True)


def components_named(weights: ModelWeights, sources: str) -> Components:
    """The components at the granularity called ``"layers"`` or ``"heads"``.

    Raises:
        InputError: There is no such granularity.
    """
    choices = {"layers": layer_components, "heads": head_components}
    if sources not in choices:
        raise InputError(f"`sources` must be one of {', '.join(map(repr, choices))}. Got {sources!r}.")
    return choices[sources](weights)


def _components(weights: ModelWeights, split_heads: bool) -> Components:
    found = [Component("embed", "embed", -1, -1)]
    if weights.has_pos_embed:
        found.append(Component("pos_embed", "pos_embed", -1, -1))
    before_attention, before_mlp, mlp_places = [], [], []
    for index, layer in enumerate(weights.layers):
        before_attention.append(len(found))
        if split_heads:
            found += [Component(f"L{index}H{head}", "head", index, head) for head in range(weights.n_heads)]
            if layer.attention.b_O is not None:
                found.append(Component(f"{index}_b_O", "bias", index, -1))
        else:
            found.append(Component(f"{index}_attn_out", "attn", index, -1))
        if layer.mlp is not None:
            before_mlp.append(before_attention[-1] if layer.parallel else len(found))
            mlp_places.append(len(found))
            found.append(Component(f"{index}_mlp_out", "mlp", index, -1))
    return Components(tuple(found), tuple(before_attention), tuple(before_mlp), tuple(mlp_places))
