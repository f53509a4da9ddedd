"""Expanding a frontier: many directions pulled back at once, each through one component at one position.

A node of an attribution tree is a component at a position together with the direction that reads its output: the
target's, pulled back through every component on the way. Expanding it pulls that direction back through the component
itself (:mod:`recursive_dla.attribution.pullback`) and contracts the result with the outputs of all components written
before. All nodes of a layer's heads, of its MLP or of its neurons go together, whatever path each is on, so a frontier
costs a few matrix products for each layer in it.

Every child at a source position reads along one and the same direction, up to a factor. So what has to be kept for
going on is one ``[d_model]`` vector for each expanded node, and a number for each child.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from recursive_dla.attribution.components import component_outputs, head_components, layer_components
from recursive_dla.attribution.mlp_rules import MLPRule, NeuronSlopes
from recursive_dla.attribution.pullback import (
    HeadsStep,
    MLPStep,
    at_z,
    neuron_slopes,
    pull_back_mlp,
    pull_back_neurons,
    through_values,
    value_constants,
    walk,
)
from recursive_dla.attribution.targets import Target
from recursive_dla.cache.activations import Activations
from recursive_dla.cache.neuron_inputs import NeuronInputs, at_places, neuron_inputs, neuron_outputs
from recursive_dla.cache.norms import pull_back_norm
from recursive_dla.model.weights import MLP, Norm
from recursive_dla.trees.vocabulary import Vocabulary

# Numbers that one contraction may put out: 64 MB in float32.
_AT_ONCE = 1 << 24


class Children(NamedTuple):
    """The strongest sources of some nodes that were expanded together, and all else that makes their weights whole.

    ``weight`` summed over the kept sources, plus the constants, plus ``rest``, is each node's own weight.

    Attributes:
        nodes: Which nodes of the frontier these are.
        code: What each kept source is (:class:`recursive_dla.trees.vocabulary.Vocabulary`), the strongest first.
        pos: Where.
        weight: What the node's weight takes from it.
        kept: Whether it is one: nodes with fewer sources than others, or weaker ones, are filled up.
        factor: Its direction is this multiple of the one in ``directions``.
        directions: ``[node d_model]``, or where the factor alone does not tell positions apart ``[node source
            d_model]``.
        constants: By the name of the part and whether it is a bias of the layer, ``[node]`` each.
        layer: The layer of the nodes.
        rest: All other sources together.
        n_cut: How many they are.
        largest: The largest absolute weight among them.
    """

    nodes: np.ndarray
    code: Int[Tensor, "node source"]
    pos: Int[Tensor, "node source"]
    weight: Float[Tensor, "node source"]
    kept: Tensor
    factor: Float[Tensor, "node source"]
    directions: Float[Tensor, "node *source d_model"]
    constants: dict[str, Float[Tensor, " node"]]
    layer: int
    rest: Float[Tensor, " node"]
    n_cut: Int[Tensor, " node"]
    largest: Float[Tensor, " node"]


class SourceLimits(NamedTuple):
    """How many sources of a node are kept: at most ``top_k``, of at least ``threshold`` in absolute weight."""

    top_k: int | None
    threshold: float


class Expander:
    """Expands nodes of the trees of one prompt. It holds the outputs of all components: ``[src_comp pos d_model]``.

    Args:
        cache: A checked cache of one prompt.
        target: What is explained; its first token.
        unit: ``"heads"``, ``"layers"`` or ``"neurons"``.
        rule: How MLPs are made linear.
    """

    def __init__(self, cache: Activations, target: Target, unit: str, rule: MLPRule) -> None:
        self.cache, self.target, self.unit, self.rule = cache, target, unit, rule
        components_of = layer_components if unit == "layers" else head_components
        self.components = components_of(cache.weights)
        self.vocabulary = Vocabulary(self.components, cache.weights, "direction" if target.answers is None else "logit")
        # Nothing after the target's position flows into it.
        self.n_pos = target.n_pos
        self.outputs = component_outputs(cache, self.components, self.n_pos)[:, 0].contiguous()
        self._neuron_inputs: dict[int, list[NeuronInputs]] = {}

    @torch.no_grad()
    def expand(
        self, code: np.ndarray, pos: np.ndarray, directions: Float[Tensor, "node d_model"], limits: SourceLimits
    ) -> Iterator[Children]:
        """The children of nodes of any kind, those of a layer and kind together.

        Args:
            code: What each node is; not a leaf.
            pos: Where it is.
            directions: What reads its output.
            limits: Which sources to keep.
        """
        stages = self.vocabulary.stages(code)
        for stage in np.unique(stages, axis=0).tolist():
            (members,) = np.nonzero((stages == stage).all(1))
            kind, layer = self.vocabulary.KINDS[stage[0]], stage[1]
            expand = _STAGES[kind]
            for nodes in np.array_split(members, -(-len(members) // self._at_once(kind))):
                rows = torch.as_tensor(nodes, device=directions.device)
                where = torch.as_tensor(pos[nodes], device=directions.device)
                which = torch.as_tensor(self.vocabulary.members(code[nodes]), device=directions.device)
                yield expand(self, layer, which, where, directions[rows], limits)._replace(nodes=nodes)

    def root(self) -> tuple[int, int, Tensor, float]:
        """The target as a node: its code, position, direction and weight."""
        return self.vocabulary.root, self.n_pos - 1, self.target.direction[0, 0], float(self.target.value[0, 0])

    @torch.no_grad()
    def weight(self, code: int, pos: int, direction: Float[Tensor, " d_model"]) -> float:
        """What a direction reads from the output of a component at a position."""
        layer, neuron = self.vocabulary.neuron(code)
        if layer is None:
            return float(direction @ self.outputs[code, pos])
        mlp = self._mlp(layer)
        bank, index = self.vocabulary.bank(neuron)
        given = self._inputs(layer, torch.tensor([pos], device=direction.device))
        return float(direction @ mlp.banks[bank].W_out[index] * neuron_outputs(mlp, given[bank])[0, index])

    @torch.no_grad()
    def total_direction(self, code: int, pos: int) -> Float[Tensor, " d_model"]:
        """What the target reads from the output of a component at a position, over all paths between them.

        A neuron's reads the MLP's output before the norm after it, if there is one.
        """
        kind, layer = self.vocabulary.stage(code)
        g = torch.zeros_like(self.outputs[None, 0])
        g[0, self.n_pos - 1] = self.target.direction[0, 0]
        for step in walk(self.cache, g, self.target.layer, self.rule):
            if isinstance(step, MLPStep) and step.layer == layer and kind == "mlp":
                return step.g[0, pos]
            if isinstance(step, MLPStep) and step.layer == layer and kind == "neuron":
                return self._before_norm(step.g[0, pos], self._mlp(layer).out_norm, torch.tensor(pos))
            if isinstance(step, HeadsStep) and step.layer == layer and kind in ("head", "attn"):
                return step.g[0, pos]
        raise AssertionError(f"the walk does not pass {kind} of layer {layer}")

    # --- one kind of node each -----------------------------------------------------------------------------------

    def _expand_root(self, layer: int, which: Tensor, pos: Tensor, g: Tensor, limits: SourceLimits) -> Children:
        last = self.target.layer == self.cache.weights.n_layers
        written = len(self.components) if last else self.components.before_attention[self.target.layer]
        values = self._read_here(g, written, pos)
        constants = {name: constant[0, :1].to(g.dtype) for name, constant in self.target.constants.items()}
        return _keep(values, pos, g, constants, layer, limits)

    def _expand_heads(self, layer: int, which: Tensor, pos: Tensor, g: Tensor, limits: SourceLimits) -> Children:
        attention = self.cache.weights.layers[layer].attention
        each = torch.arange(len(g), device=g.device)
        # Of all heads, then the one of each node: a product with the whole of W_O rather than a copy of it for each.
        of_all = at_z(self._before_norm(g, attention.out_norm, pos), attention)
        own = torch.zeros_like(of_all)
        own[each, which] = of_all[each, which]
        pattern = self._pattern(layer)[pos, which]
        attended = torch.zeros_like(own[..., 0])
        attended[each, which] = pattern.sum(-1)
        constants = {name: by_head.sum(-1) for name, by_head in value_constants(own, attended, attention).items()}
        direction = pull_back_norm(through_values(own, attention), attention.norm)
        before = self.components.before_attention[layer]
        values = (direction @ self.outputs[:before].flatten(0, 1).mT).view(len(g), before, self.n_pos)
        factor = pattern / self._scale(attention.norm)[:, 0]
        values *= factor[:, None]
        return _keep(values, None, direction, constants, layer, limits, factor)

    def _expand_attentions(self, layer: int, which: Tensor, pos: Tensor, g: Tensor, limits: SourceLimits) -> Children:
        attention = self.cache.weights.layers[layer].attention
        g = self._before_norm(g, attention.out_norm, pos)
        reads = at_z(g, attention)
        pattern = self._pattern(layer)[pos]
        constants = {} if attention.b_O is None else {"b_O": g @ attention.b_O}
        by_head = value_constants(reads, pattern.sum(-1), attention)
        constants |= {name: each.sum(-1) for name, each in by_head.items()}
        at_values = einsum(pattern, reads, "node head key, node head d_head -> node key head d_head")
        directions = pull_back_norm(through_values(at_values, attention), attention.norm, self._scale(attention.norm))
        sources = self.outputs[: self.components.before_attention[layer]]
        values = einsum(directions, sources, "node key d_model, src_comp key d_model -> node src_comp key")
        found = _keep(values, None, directions, constants, layer, limits)
        each_node = torch.arange(len(g), device=g.device)[:, None]
        return found._replace(directions=directions[each_node, found.pos])

    def _expand_mlps(self, layer: int, which: Tensor, pos: Tensor, g: Tensor, limits: SourceLimits) -> Children:
        mlp = self._mlp(layer)
        g = self._before_norm(g, mlp.out_norm, pos)
        inputs = self._inputs(layer, pos)
        if self.unit == "neurons":
            banks = zip(mlp.banks, inputs, strict=True)
            values = torch.cat([g @ bank.W_out.mT * neuron_outputs(mlp, given) for bank, given in banks], dim=-1)
            constants = {} if mlp.b_out is None else {"b_out": g @ mlp.b_out}
            found = _keep(values, pos, g, constants, layer, limits)
            return found._replace(code=found.code + self.vocabulary.first_neuron(layer))
        pulled, constants = pull_back_mlp(g, mlp, neuron_slopes(mlp, self.rule, inputs))
        direction = self._before_norm(pulled, mlp.norm, pos)
        values = self._read_here(direction, self.components.before_mlp[layer], pos)
        return _keep(values, pos, direction, constants, layer, limits)

    def _expand_neurons(self, layer: int, which: Tensor, pos: Tensor, g: Tensor, limits: SourceLimits) -> Children:
        mlp = self._mlp(layer)
        pulled = torch.zeros_like(g)
        constants: dict[str, Tensor] = {}
        inputs = self._inputs(layer, pos)
        banks, indices = self.vocabulary.banks(which)
        for place in banks.unique().tolist():
            rows = (banks == place).nonzero()[:, 0]
            bank, index = mlp.banks[place], indices[rows]
            given = NeuronInputs._make(
                None if part is None else part[rows, index][:, None] if part.ndim == 2 else part[rows]
                for part in inputs[place]
            )
            (slopes,) = neuron_slopes(mlp, self.rule, [given])
            own = NeuronSlopes(*(None if part is None else part[:, 0] for part in slopes))
            at_neurons = (g[rows] * bank.W_out[index]).sum(-1)
            pulled[rows], parts = pull_back_neurons(at_neurons, bank, index, own, mlp.norm)
            for name, part in parts.items():
                constants.setdefault(name, g.new_zeros(len(g)))[rows] += part
        direction = self._before_norm(pulled, mlp.norm, pos)
        values = self._read_here(direction, self.components.before_mlp[layer], pos)
        return _keep(values, pos, direction, constants, layer, limits)

    # --- what the cache holds ------------------------------------------------------------------------------------

    def _at_once(self, kind: str) -> int:
        """How many nodes of a kind go together."""
        wide = len(self.components) if kind == "head" else len(self.components) + self.cache.weights.d_model
        numbers = wide * self.n_pos if kind in ("head", "attn") else wide + self.vocabulary.neurons_per_layer
        return max(1, _AT_ONCE // numbers)

    def _mlp(self, layer: int) -> MLP:
        mlp = self.cache.weights.layers[layer].mlp
        assert mlp is not None
        return mlp

    def _scale(self, norm: Norm | None) -> Float[Tensor, "pos 1"]:
        return self.cache.norm_scale(norm)[0, : self.n_pos]

    def _pattern(self, layer: int) -> Float[Tensor, "query head key"]:
        pattern = self.cache.batched("pattern", layer)[0, :, : self.n_pos, : self.n_pos]
        return rearrange(pattern, "head query key -> query head key")

    def _inputs(self, layer: int, pos: Tensor) -> list[NeuronInputs]:
        """What a layer's neurons worked with at each of some positions."""
        if layer not in self._neuron_inputs:
            self._neuron_inputs[layer] = neuron_inputs(self.cache, layer, self.cache.weights.layers[layer])
        return at_places(self._neuron_inputs[layer], torch.zeros_like(pos), pos)

    def _before_norm(self, g: Tensor, norm: Norm | None, pos: Tensor) -> Float[Tensor, "*node d_model"]:
        """Directions that read the output of a norm at their positions, as such that read its input."""
        return pull_back_norm(g, norm, self._scale(norm)[pos])

    def _read_here(self, directions: Tensor, count: int, pos: Tensor) -> Float[Tensor, "node src_comp"]:
        """What each direction reads at its own position from the first ``count`` components."""
        values = directions.new_empty((len(directions), count))
        # One product for each position: outputs are never copied for each node.
        for at in pos.unique().tolist():
            rows = pos == at
            values[rows] = directions[rows] @ self.outputs[:count, at].mT
        return values


_STAGES: dict[str, Callable[[Expander, int, Tensor, Tensor, Tensor, SourceLimits], Children]] = {
    "root": Expander._expand_root,
    "head": Expander._expand_heads,
    "attn": Expander._expand_attentions,
    "mlp": Expander._expand_mlps,
    "neuron": Expander._expand_neurons,
}


def _keep(
    values: Float[Tensor, "node src_comp *src_pos"],
    pos: Tensor | None,
    directions: Tensor,
    constants: dict[str, Tensor],
    layer: int,
    limits: SourceLimits,
    factor: Tensor | None = None,
) -> Children:
    """The strongest sources of each node, and the sum of all others.

    Args:
        values: What each node takes from each source.
        pos: Where the sources are, one position for each node; ``None`` if ``values`` has an axis of them.
        directions: As in :class:`Children`.
        constants: The same.
        layer: The same.
        limits: Which to keep.
        factor: What the sources of a position have in common, ``[node src_pos]``; ``None`` for one.
    """
    n_pos = 1 if pos is not None else values.shape[-1]
    flat = values.flatten(1)
    top_k = flat.shape[1] if limits.top_k is None else min(limits.top_k, flat.shape[1])
    # One more than are kept: the largest of those that are not.
    sizes, places = flat.abs().topk(min(top_k + 1, flat.shape[1]), dim=1)
    kept = (sizes >= limits.threshold) & (sizes > 0)
    kept[:, top_k:] = False
    weight = flat.gather(1, places)
    rest = flat.sum(1, dtype=torch.float64) - torch.where(kept, weight, 0).sum(1, dtype=torch.float64)
    count = (flat != 0).sum(1) - kept.sum(1)
    at = places % n_pos if pos is None else pos[:, None].expand_as(places)
    return Children(
        nodes=np.empty(0, dtype=np.int64),
        code=places // n_pos,
        pos=at,
        weight=weight,
        kept=kept,
        factor=torch.ones_like(weight) if factor is None else factor.gather(1, at),
        directions=directions,
        constants=constants,
        layer=layer,
        rest=torch.where(count > 0, rest, 0),
        n_cut=count,
        largest=torch.where(kept, 0, sizes).amax(1),
    )
