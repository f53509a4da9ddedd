"""The components of a model: what writes into the residual stream, in the order in which it writes, and their labels.

The order makes "everything written before this point" a prefix, which is what every breakdown and the sweep contract
with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache.activations import Activations
from recursive_dla.cache.component_stacks import write_head_results
from recursive_dla.cache.norms import apply_norm
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


def component_outputs(
    cache: Activations, components: Components, n_pos: int | None = None
) -> Float[Tensor, "src_comp batch pos d_model"]:
    """The output of every component, in writing order; they sum to the final residual stream.

    Heads come from the cached ``z`` and ``W_O``, everything else as it was cached. In memory, the components of a
    position are neighbours: what is written before a point is one stretch for each position.

    Args:
        cache: The activations.
        components: Whose outputs.
        n_pos: At how many positions, from the first; all of them by default.
    """
    here = slice(n_pos)
    embed = cache.batched("embed")[:, here]
    stack = rearrange(
        embed.new_empty((*embed.shape[:2], len(components), embed.shape[2])),
        "b pos src_comp d_model -> src_comp b pos d_model",
    )
    for place, component in enumerate(components.all):
        kind, layer = component.kind, component.layer
        if layer < 0:
            stack[place] = cache.batched(kind)[:, here]
            continue
        attention = cache.weights.layers[layer].attention
        if kind in ("mlp", "attn"):
            stack[place] = cache.batched(f"{kind}_out", layer)[:, here]
        elif kind == "bias":
            assert attention.b_O is not None  # it is a component only where there is one
            out_scale = cache.norm_scale(attention.out_norm)[:, here]
            stack[place] = apply_norm(attention.b_O, attention.out_norm, out_scale)
        elif component.head == 0:
            # One product fills the rows of all heads of a layer.
            rows = stack[place : place + len(attention.W_O)]
            write_head_results(cache.batched("z", layer)[:, here], attention.W_O, rows)
            apply_norm(rows, attention.out_norm, cache.norm_scale(attention.out_norm)[:, here], in_place=True)
    return stack
