"""Building attribution graphs: the sweep's numbers as nodes and edges."""

from __future__ import annotations

from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from recursive_dla.attribution.components import Components, component_outputs, head_components
from recursive_dla.attribution.mlp_rules import rule_named
from recursive_dla.attribution.provenance import provenances
from recursive_dla.attribution.targets import Target
from recursive_dla.cache.activations import Activations
from recursive_dla.cache.checks import ensure_checked
from recursive_dla.graphs.assembly import Assembly, with_rests
from recursive_dla.graphs.balance import Balance
from recursive_dla.graphs.collectors import AllEdges, Collector, StrongestEdges
from recursive_dla.graphs.data import GraphData, GraphMetadata
from recursive_dla.graphs.edges import Sources
from recursive_dla.graphs.memory_budget import GraphLimits, complete_edges, memory
from recursive_dla.graphs.pruning import checked_settings, prune
from recursive_dla.graphs.sweep import Destinations, sweep
from recursive_dla.progress import tracked
from recursive_dla.version import __version__


@torch.inference_mode()
def build_graphs(cache: Activations, target: Target, rule: str, limits: GraphLimits, check: bool) -> list[GraphData]:
    """The graph of each prompt of a cache, for the first token of a target."""
    mlp_rule = rule_named(rule)
    if not limits.complete:
        checked_settings(limits.pruning)
    components = head_components(cache.weights)
    n_pos = target.n_pos
    budget = memory(cache, len(target.pos), n_pos, components, limits)
    if check:
        ensure_checked(cache)
    outputs = rearrange(component_outputs(cache, components, n_pos), "c b pos d_model -> b pos c d_model")
    sources = Sources(cache, components, outputs, budget)
    root = "direction" if target.answers is None else "logit"
    assemblies = [
        Assembly(components, n_pos, root, _collector(components, outputs, value, limits, budget.most_edges))
        for value in target.value[:, 0].tolist()
    ]
    edges_before = [0] * len(assemblies)
    balance = Balance(components, outputs)
    parts = sweep(cache, target, components, outputs, mlp_rule)
    for part in tracked(parts, total=2 * target.layer + 2, description="Attribution graph"):
        if isinstance(part, Destinations):
            balance.add(part)
        for prompt, assembly in enumerate(assemblies):
            assembly.add(part, prompt, sources)
            if not limits.complete and isinstance(part, Destinations):
                edges_before[prompt] += sources.count(part, prompt)
    graphs = []
    found = zip(provenances(cache, target), assemblies, balance.errors(), edges_before, strict=True)
    for provenance, assembly, imbalance, n_edges in found:
        value = provenance.value
        metadata = GraphMetadata(
            **vars(provenance),
            completeness_error=max(abs(assembly.sum_of_leaves() - value) / max(abs(value), 1e-12), imbalance),
            rule=rule,
            generator=f"recursive_dla {__version__}",
        )
        graph = assembly.graph(metadata)
        if not limits.complete:
            before = {"nodes_before": assembly.n_nodes, "edges_before": n_edges}
            graph = replace(with_rests(graph), metadata=replace(graph.metadata, pruning=before))
            graph = prune(graph, **limits.pruning)
        graphs.append(graph)
    return graphs


def _collector(
    components: Components, outputs: Tensor, value: float, limits: GraphLimits, most_edges: int
) -> Collector:
    n_pos = outputs.shape[1]
    if limits.complete:
        return AllEdges(n_pos, complete_edges(components, n_pos), outputs)
    min_weight = 0.0 if limits.min_share is None else limits.min_share * abs(value)
    return StrongestEdges(n_pos, limits.max_edges, min_weight, most_edges)
