"""From the parts of a sweep to one prompt's graph: the nodes with what flows through them, and the collected edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from recursive_dla.attribution.components import Components
from recursive_dla.attribution.node_meanings import component_meaning, constant_meaning, root_meaning
from recursive_dla.graphs.collectors import Collector, Edges
from recursive_dla.graphs.data import LEAF_KINDS, GraphData, GraphMetadata
from recursive_dla.graphs.edges import Sources
from recursive_dla.graphs.products import EdgeBlock
from recursive_dla.graphs.sweep import AtOwnPosition, Destinations, Leaves

# So many MLPs share one reading of what was written before them; the floor does without their edges until then.
_TOGETHER = 8


class Assembly:
    """One prompt's graph in the making.

    Meanings are numbered as :mod:`recursive_dla.graphs.collectors` needs it: components by place, the logit, then
    constants as they are met.
    """

    def __init__(self, components: Components, n_pos: int, root: str, collector: Collector) -> None:
        self._n_pos = n_pos
        self._collector = collector
        self._n_layers = len(components.before_attention)
        self._root = len(components)
        self._meanings = [*map(component_meaning, components.all), root_meaning(root, self._n_layers)]
        self._constants: dict[str, int] = {}
        self._attribution: dict[int, np.ndarray] = {}
        self._waiting: list[Destinations] = []

    def add(self, part: Destinations | Leaves, prompt: int, sources: Sources) -> None:
        """Take one part of the sweep; the leaves are its last."""
        if isinstance(part, Leaves):
            self._add_waiting(prompt, sources)
            for place, attribution in part.attribution.items():
                self._attribution[place] = attribution[prompt].numpy(force=True)
            return
        for offset, attribution in enumerate(part.attribution[prompt].numpy(force=True)):
            self._attribution[part.first + offset] = attribution
        for name, constant in part.constants.items():
            self._add_constant(part, name, constant[prompt].numpy(force=True))
        if isinstance(part.reads, AtOwnPosition):
            self._waiting.append(part)
            if len(self._waiting) == _TOGETHER:
                self._add_waiting(prompt, sources)
        else:
            self._add_block(sources.into_heads(part, prompt, self._collector))

    def _add_waiting(self, prompt: int, sources: Sources) -> None:
        if self._waiting:
            self._add_block(sources.at_own_position(self._waiting, prompt, self._collector))
            self._waiting.clear()

    def _add_block(self, found: Iterator[EdgeBlock]) -> None:
        for block in found:
            self._collector.add_block(block)

    def _add_constant(self, part: Destinations, name: str, constant: np.ndarray) -> None:
        meaning = constant_meaning(name, part.layer, self._n_layers)
        if meaning.name not in self._constants:
            self._constants[meaning.name] = len(self._meanings)
            self._meanings.append(meaning)
        # Heads and MLP of a parallel block may share a norm, whose bias is one node then.
        group = self._constants[meaning.name]
        self._attribution[group] = constant.sum(0) + self._attribution.get(group, 0)
        pos = np.arange(self._n_pos)
        dest = (part.first + np.arange(len(constant)))[:, None] * self._n_pos + pos
        source = np.broadcast_to(group * self._n_pos + pos, dest.shape)
        self._collector.add(Edges(source.ravel(), dest.ravel(), constant.ravel()))

    def sum_of_leaves(self) -> float:
        """What embeddings, biases and remainders sum to, in double precision."""
        return float(
            sum(
                attribution.sum(dtype=np.float64)
                for group, attribution in self._attribution.items()
                if self._meanings[group].kind in LEAF_KINDS
            )
        )

    @property
    def n_nodes(self) -> int:
        """How many nodes something flows through."""
        return sum(int(np.count_nonzero(attribution)) for attribution in self._attribution.values())

    def graph(self, metadata: GraphMetadata) -> GraphData:
        """The graph of the edges that were collected."""
        root = self._root * self._n_pos + metadata.target.pos
        numbers, edges = self._collector.finished(len(self._meanings), root)
        # A target that reads the stream early has nothing from the layers after it.
        nothing = np.zeros(self._n_pos, dtype=edges.weight.dtype)
        attribution = np.stack([self._attribution.get(group, nothing) for group in range(len(self._meanings))]).ravel()
        group, pos = numbers // self._n_pos, numbers % self._n_pos
        names = [named.name for named in self._meanings]
        columns = pd.DataFrame(self._meanings).take(group)
        text = pd.Series([token.text for token in metadata.tokens])
        nodes = pd.DataFrame(
            {
                "id": [f"{names[index]}@{at}" for index, at in zip(group.tolist(), pos.tolist(), strict=True)],
                "kind": columns["kind"].array,
                "component": columns["component"].array,
                "layer": columns["layer"].array,
                "head": columns["head"].array,
                "pos": pos,
                "token": text.take(pos).array,
                "attribution": attribution[numbers],
                "rest_in": 0.0,
                "rest_out": 0.0,
            }
        )
        return GraphData(nodes, *edges, metadata)


def with_rests(graph: GraphData) -> GraphData:
    """The graph with what its edges lack of the nodes' attributions as rests: of a graph that is not complete."""
    nodes = graph.nodes.copy()
    attribution = nodes["attribution"].to_numpy(np.float64)
    for column, ends, without in (
        ("rest_in", graph.edge_target, nodes["kind"].isin(LEAF_KINDS)),
        ("rest_out", graph.edge_source, nodes["kind"] == "logit"),
    ):
        kept = np.bincount(ends, weights=graph.edge_weight, minlength=len(nodes))
        nodes[column] = np.where(without, 0.0, attribution - kept)
    return replace(graph, nodes=nodes)
