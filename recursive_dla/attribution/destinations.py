"""What one level of recursion gives for each kind of destination: heads, MLPs, the paths through MLPs, neurons.

Each function pulls the target's directions back through its destinations, layer by layer, and then contracts all of
them with the outputs of the components at once. To add a kind, write such a function and enter it in
:data:`DESTINATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.attribution.components import Components, component_outputs
from recursive_dla.attribution.mlp_rules import MLPRule, NeuronSlopes
from recursive_dla.attribution.pullback import (
    at_z,
    each_through_values,
    neuron_slopes,
    pull_back_mlp,
    pull_back_neurons,
    value_constants,
)
from recursive_dla.attribution.targets import Target
from recursive_dla.cache.activations import Activations
from recursive_dla.cache.neuron_inputs import NeuronInputs, at_places, neuron_inputs, neuron_outputs
from recursive_dla.cache.norms import pull_back_norm
from recursive_dla.errors import InputError
from recursive_dla.model.weights import MLP, Layer, Norm


class Pieces(NamedTuple):
    """A breakdown in the making: ``values`` over the source axes, plus ``constants``, is ``totals``.

    ``axes`` are the names and labels of the axes after ``token`` and ``batch``.
    """

    values: Tensor
    axes: dict[str, tuple[str, ...]]
    totals: Tensor
    constants: dict[str, Tensor]


class _Constants:
    """Constants by name, on the axes of the totals; zero in the layers that do not have them."""

    def __init__(self) -> None:
        self.found: dict[str, dict[int, Tensor]] = {}

    def add(self, index: int, parts: dict[str, Tensor]) -> None:
        for name, part in parts.items():
            self.found.setdefault(name, {})[index] = part

    def stacked(self, n_layers: int) -> dict[str, Tensor]:
        stacked = {}
        for name, parts in self.found.items():
            zero = torch.zeros_like(next(iter(parts.values())))
            stacked[name] = torch.stack([parts.get(index, zero) for index in range(n_layers)], dim=2)
        return stacked


def heads(cache: Activations, target: Target, components: Components, rule: MLPRule, top_k: int) -> Pieces:
    """``[token batch dest_l dest_h src_pos src_comp]``."""
    weights = cache.weights
    prompts = _prompts(target)
    directions, totals, constants = [], [], _Constants()
    for index, layer in enumerate(weights.layers):
        attention = layer.attention
        reads = at_z(_before_out_norm(cache, target, index, attention.out_norm), attention)
        z = cache.batched("z", index)[prompts, target.pos]
        totals.append(einsum(reads, z, "token b head d_head, b head d_head -> token b head"))
        directions.append(pull_back_norm(each_through_values(reads, attention), attention.norm))
        attended = cache.batched("pattern", index)[prompts, :, target.pos].sum(-1)
        constants.add(index, value_constants(reads, attended.expand(reads.shape[:-1]), attention))
    layers = range(weights.n_layers)
    pattern = torch.stack([cache.batched("pattern", index)[prompts, :, target.pos] for index in layers])
    scale = torch.stack([cache.norm_scale(layer.attention.norm)[..., 0] for layer in weights.stored_layers])
    # The large contraction comes before pattern and scale, which only weight its results: the other way round it would
    # need a [head, src_pos, d_model] tensor.
    values = _contract_prefixes(
        torch.stack(directions, dim=2), component_outputs(cache, components), components.before_attention
    )
    values *= rearrange(pattern, "layer b head src_pos -> b layer head src_pos 1")
    values /= rearrange(scale, "layer b src_pos -> b layer 1 src_pos 1")
    axes = {
        "dest_l": tuple(f"L{index}" for index in layers),
        "dest_h": tuple(f"H{head}" for head in range(weights.n_heads)),
        "src_pos": tuple(map(str, range(pattern.shape[-1]))),
        "src_comp": components.labels,
    }
    return Pieces(values, axes, torch.stack(totals, dim=2), constants.stacked(len(layers)))


def mlps(cache: Activations, target: Target, components: Components, rule: MLPRule, top_k: int) -> Pieces:
    """``[token batch dest_l src_comp]``."""
    prompts = _prompts(target)
    directions, totals, constants = [], [], _Constants()
    for index, (layer, mlp) in enumerate(_layers_with_mlp(cache)):
        slopes = neuron_slopes(mlp, rule, _inputs_at(cache, target, index, layer))
        pulled, parts = pull_back_mlp(_before_out_norm(cache, target, index, mlp.out_norm), mlp, slopes)
        directions.append(_before_norm(cache, target, mlp.norm, pulled))
        totals.append((_read_at(target, index) * cache.batched("mlp_out", index)[prompts, target.pos]).sum(-1))
        constants.add(index, parts)
    n_layers = len(totals)
    axes = {"dest_l": tuple(f"L{index}MLP" for index in range(n_layers)), "src_comp": components.labels}
    values = _contract_at_target(cache, target, components, torch.stack(directions, dim=2), components.before_mlp)
    return Pieces(values, axes, torch.stack(totals, dim=2), constants.stacked(n_layers))


def mlp_paths(cache: Activations, target: Target, components: Components, rule: MLPRule, top_k: int) -> Pieces:
    """``[token batch dest_l path src_comp]``: what comes through ``gate`` and through ``up``, each with its own total.

    The totals of the two, plus ``b_out`` and the rule's remainder, are the MLP's.
    """
    directions, totals, constants = [], [], _Constants()
    for index, (layer, mlp) in enumerate(_layers_with_mlp(cache)):
        if not mlp.gated:
            raise InputError("`dest='mlp-paths'` needs gated MLPs, and this model's are plain. Use dest='mlps'.")
        inputs = _inputs_at(cache, target, index, layer)
        at_output = _before_out_norm(cache, target, index, mlp.out_norm)
        found = neuron_slopes(mlp, rule, inputs)
        through, path_totals, path_parts = [], [], []
        for path in ("gate", "up"):
            only = [
                NeuronSlopes(each.gate, None, None) if path == "gate" else NeuronSlopes(None, each.up, None)
                for each in found
            ]
            pulled, parts = pull_back_mlp(at_output, mlp, only)
            parts.pop("b_out", None)  # of the MLP as a whole, and of neither path
            through.append(_before_norm(cache, target, mlp.norm, pulled))
            path_totals.append(_path_total(at_output, mlp, only, inputs))
            path_parts.append(parts)
        directions.append(torch.stack(through, dim=2))
        totals.append(torch.stack(path_totals, dim=-1))
        for name in {name for parts in path_parts for name in parts}:
            zero = torch.zeros_like(path_totals[0])
            constants.add(index, {name: torch.stack([parts.get(name, zero) for parts in path_parts], dim=-1)})
    n_layers = len(totals)
    values = _contract_at_target(cache, target, components, torch.stack(directions, dim=2), components.before_mlp)
    axes = {
        "dest_l": tuple(f"L{index}MLP" for index in range(n_layers)),
        "path": ("gate", "up"),
        "src_comp": components.labels,
    }
    return Pieces(values, axes, torch.stack(totals, dim=2), constants.stacked(n_layers))


def _path_total(at_output: Tensor, mlp: MLP, only: list[NeuronSlopes], inputs: list[NeuronInputs]) -> Tensor:
    """What one path of a gated MLP carries: its slopes times its own pre-activations, read along the direction."""
    total = torch.zeros_like(at_output[..., 0])
    for bank, found, given in zip(mlp.banks, only, inputs, strict=True):
        for slope, pre in ((found.gate, given.pre), (found.up, given.pre_linear)):
            if slope is not None and pre is not None:
                total = total + (at_output @ bank.W_out.mT * slope * pre).sum(-1)
    return total


def neurons(cache: Activations, target: Target, components: Components, rule: MLPRule, top_k: int) -> Pieces:
    """``[token batch neuron src_comp]`` of the ``top_k`` neurons, found without a ``[neuron, d_model]`` stack."""
    layers = list(_layers_with_mlp(cache))
    found, at_neurons, contributions = [], [], []
    for index, (layer, mlp) in enumerate(layers):
        bank = mlp.neurons
        inputs = _inputs_at(cache, target, index, layer)
        at_neurons.append(_before_out_norm(cache, target, index, mlp.out_norm) @ bank.W_out.mT)
        contributions.append(at_neurons[-1] * neuron_outputs(mlp, inputs[0]))
        found.extend(neuron_slopes(mlp, rule, inputs))
    totals = torch.stack(contributions, dim=2)
    d_mlp = totals.shape[-1]
    strength = totals.abs().amax((0, 1)).flatten()
    # In order of layer, as sources and the sums over a prefix of them have it.
    chosen = strength.topk(min(top_k, len(strength))).indices.sort().values
    directions: list[Tensor] = []
    labels: list[str] = []
    before: list[int] = []
    constants: dict[str, Tensor] = {}
    for index, (_, mlp) in enumerate(layers):
        here = chosen[chosen // d_mlp == index] % d_mlp
        place = slice(len(labels), len(labels) + len(here))
        slopes = NeuronSlopes(*(None if part is None else part[..., here] for part in found[index]))
        pulled, parts = pull_back_neurons(at_neurons[index][..., here], mlp.neurons, here, slopes, mlp.norm)
        directions.append(_before_norm(cache, target, mlp.norm, pulled))
        for name, part in parts.items():
            constants.setdefault(name, part.new_zeros((*part.shape[:2], len(chosen))))[..., place] = part
        labels += [f"L{index}N{neuron}" for neuron in here.tolist()]
        before += [components.before_mlp[index]] * len(here)
    values = _contract_at_target(cache, target, components, torch.cat(directions, dim=2), tuple(before), at_once=64)
    axes = {"neuron": tuple(labels), "src_comp": components.labels}
    return Pieces(values, axes, totals.flatten(2)[..., chosen], constants)


def _layers_with_mlp(cache: Activations) -> Iterator[tuple[Layer, MLP]]:
    if not cache.weights.has_mlp:
        raise InputError(f"Model {cache.weights.name} has only attention, so there are no MLPs to break down.")
    for layer in cache.weights.layers:
        assert layer.mlp is not None
        yield layer, layer.mlp


def _prompts(target: Target) -> Tensor:
    return torch.arange(len(target.pos), device=target.direction.device)


def _inputs_at(cache: Activations, target: Target, index: int, layer: Layer) -> list[NeuronInputs]:
    """What a layer's neurons worked with at the target's positions; ``pos`` is gone, and each part ``[batch, …]``."""
    return at_places(neuron_inputs(cache, index, layer), _prompts(target), target.pos)


def _before_norm(cache: Activations, target: Target, norm: Norm | None, pulled: Tensor) -> Tensor:
    """``[token b ... d_model]``, reading the normalised stream at the target's positions, as reading the stream."""
    scale = cache.norm_scale(norm)[_prompts(target), target.pos]
    return pull_back_norm(pulled, norm, scale.view(-1, *[1] * (pulled.ndim - 2)))


def _read_at(target: Target, index: int) -> Float[Tensor, "token b d_model"]:
    """What is read from the outputs of a layer: nothing, where the target reads the stream before it."""
    direction = rearrange(target.direction, "b token d_model -> token b d_model")
    return direction if index < target.layer else torch.zeros_like(direction)


def _before_out_norm(
    cache: Activations, target: Target, index: int, norm: Norm | None
) -> Float[Tensor, "token b d_model"]:
    """What is read from the outputs of a layer, before the norm that a sublayer of it ends in."""
    return pull_back_norm(_read_at(target, index), norm, cache.norm_scale(norm)[_prompts(target), target.pos])


def _contract_prefixes(
    directions: Float[Tensor, "token b dest *head d_model"],
    outputs: Float[Tensor, "src_comp b src_pos d_model"],
    before: tuple[int, ...],
    at_once: int = 5,
) -> Float[Tensor, "token b dest *head src_pos src_comp"]:
    """Each destination's directions with the outputs written before it reads; the other sources are zero.

    A few destinations go together, with the sources of the last of them: fewer wasted products than all at once, and
    larger ones than one by one. ``before`` must not decrease.
    """
    sources = rearrange(outputs, "src_comp b src_pos d_model -> b src_comp src_pos d_model").contiguous()
    values = directions.new_zeros((*directions.shape[:-1], *sources.shape[1:3]))
    for start in range(0, len(before), at_once):
        counts = before[start : start + at_once]
        n_sources = counts[-1]
        block = directions[:, :, start : start + len(counts)]
        flat = sources[:, :n_sources].flatten(1, 2).mT
        product = (block.flatten(2, -2) @ flat).view(*block.shape[:-1], n_sources, sources.shape[2])
        for place, count in enumerate(counts):
            product[:, :, place, ..., count:, :] = 0
        values[:, :, start : start + len(counts), ..., :n_sources, :] = product
    return rearrange(values, "token b dest ... src_comp src_pos -> token b dest ... src_pos src_comp")


def _contract_at_target(
    cache: Activations,
    target: Target,
    components: Components,
    directions: Float[Tensor, "token b dest *path d_model"],
    before: tuple[int, ...],
    at_once: int = 5,
) -> Float[Tensor, "token b dest *path src_comp"]:
    """:func:`_contract_prefixes` for what reads the target's own position only."""
    outputs = component_outputs(cache, components)[:, _prompts(target), target.pos]
    return _contract_prefixes(directions, outputs[:, :, None], before, at_once)[..., 0, :]


DESTINATIONS: dict[str, Callable[[Activations, Target, Components, MLPRule, int], Pieces]] = {
    "heads": heads,
    "mlps": mlps,
    "mlp-paths": mlp_paths,
    "neurons": neurons,
}
