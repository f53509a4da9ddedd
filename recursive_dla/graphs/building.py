"""Building attribution graphs: the sweep's numbers as nodes and edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from recursive_dla import __version__
from recursive_dla.attribution.components import Components, head_components
from recursive_dla.attribution.mlp_rules import DEFAULT_RULE, rule_named
from recursive_dla.attribution.provenance import provenances
from recursive_dla.attribution.targets import Answers, Positions, Target, as_single_target, as_target
from recursive_dla.attribution.writers import component_outputs
from recursive_dla.cache.activation_cache import ActivationCache, as_cache
from recursive_dla.cache.checks import ensure_checked
from recursive_dla.errors import InputError
from recursive_dla.graphs.assembling import Assembly, with_rests
from recursive_dla.graphs.balance import Balance
from recursive_dla.graphs.collecting import Collector, Everything, Strongest
from recursive_dla.graphs.edges import Sources
from recursive_dla.graphs.graph import AttributionGraph, GraphMetadata
from recursive_dla.graphs.memory_budget import Limits, complete_edges, memory
from recursive_dla.graphs.pruning import checked_settings
from recursive_dla.graphs.sweep import Swept, cone, sweep
from recursive_dla.progress import tracked

MEMORY_BUDGET = 2 * 2**30


def attribution_graph(
    cache: Any,
    model: Any,
    answers: Answers | Target,
    *,
    wrong_answers: Answers | None = None,
    pos: Positions = None,
    rule: str = DEFAULT_RULE,
    max_edges: int | None = None,
    min_share: float | None = None,
    memory_budget: int = MEMORY_BUDGET,
    check: bool = True,
) -> AttributionGraph:
    """The attribution graph of one answer to one prompt: complete, or its strongest edges.

    Every head, MLP, embedding and bias at every position is a node, and the weight of an edge is what the destination's
    contribution to the logit takes from the source:

        logit ← c@q:      g_f · o_c[q]
        MLP@q ← c@q:      N^T J^T g[q] · o_c[q]
        head@q ← c@k:     A[q, k] · N^T W_V W_O g[q] · o_c[k]

    with ``g[q]`` what the answer reads at ``q`` over all paths. See :mod:`recursive_dla.graphs.sweep`.

    With ``max_edges`` or ``min_share`` the graph is what :meth:`AttributionGraph.prune` makes of the complete one (but
    perhaps with another one of equally strong edges). The complete one is never held: most of its edges are not even
    computed (:mod:`recursive_dla.graphs.products`). That is the way for prompts of more than about 80 tokens.

    Args:
        cache: The activations of one prompt: ours, or TransformerLens's own.
        model: The model that made them.
        answers: One answer: a string that is one token, or a token id. Or a :class:`recursive_dla.Target` of one
            number, for anything other than a logit.
        wrong_answers: The answer to subtract, for a logit difference.
        pos: The position whose logit is explained; the last by default.
        rule: How MLPs are made linear: see :mod:`recursive_dla.attribution.mlp_rules`.
        max_edges: Keep at most this many edges, the strongest; what is cut is in the nodes' ``rest_in`` and
            ``rest_out``.
        min_share: Keep edges with at least this share of the logit.
        memory_budget: How many bytes the graph and the work on it may take, beside the model and the cache.
        check: Whether to verify the cache first: see :func:`recursive_dla.cache.checks.check`.

    Returns:
        The graph. For every node, Σ in-edges + ``rest_in`` = attribution = Σ out-edges + ``rest_out``; in a complete
        graph the rests are zero, and the leaves sum to the logit.

    Raises:
        InputError: Several prompts or answers, answers or positions that do not fit, an unknown rule, limits out of
            range, or a graph that does not fit the memory budget.
        CacheError: The cache lacks activations, or does not fit the model.
        UnsupportedModelError: The model has a part that is not handled.

    Source: flow graphs over frozen circuits as in Elhage et al. 2021, "A Mathematical Framework for Transformer
    Circuits", and Ameisen et al. 2025, "Circuit Tracing"; here with heads and MLPs as nodes.

    Example:
        >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
        >>> round(graph.metadata.value, 3)
        5.576
        >>> leaves = graph.nodes[graph.nodes["kind"] == "embed"]
        >>> round(float(leaves["attribution"].sum()), 3)
        5.576
    """
    cache = as_cache(cache, model)
    instead = "make one graph each, those of several prompts together with attribution_graphs"
    target = as_single_target(cache, answers, wrong_answers, pos, explains="graph", instead=instead)
    limits = Limits(max_edges, min_share, memory_budget)
    return _graphs(cache, target, rule, limits, check)[0]


def attribution_graphs(
    cache: Any,
    model: Any,
    answers: str | int | Sequence[str | int] | Target,
    *,
    wrong_answers: str | int | Sequence[str | int] | None = None,
    pos: Positions = None,
    rule: str = DEFAULT_RULE,
    max_edges: int | None = None,
    min_share: float | None = None,
    memory_budget: int = MEMORY_BUDGET,
    check: bool = True,
) -> list[AttributionGraph]:
    """The attribution graphs of a batch of prompts, in one sweep.

    Args:
        cache: The activations of prompts of one length, or padded to one.
        model: The model that made them.
        answers: One answer for all prompts, or a list with one for each. Or a :class:`recursive_dla.Target` of one
            number for each prompt.
        wrong_answers: In the same form, what to subtract.
        pos: The position whose logits are explained, or one per prompt: of prompts padded on the right, that of their
            last token.
        rule: As for :func:`attribution_graph`.
        max_edges: The same, for each graph.
        min_share: The same.
        memory_budget: The same, for all graphs together.
        check: The same.

    Returns:
        One graph per prompt, equal to what :func:`attribution_graph` gives for it alone. Padding has no edges and is
        in no graph.

    Raises:
        InputError: Lists that do not have one answer per prompt; else as :func:`attribution_graph`.
        CacheError: As :func:`attribution_graph`.
        UnsupportedModelError: As :func:`attribution_graph`.

    Example:
        >>> prompts = ["The Eiffel Tower is in the city of", "The Statue of Liberty is in New"]
        >>> tokens = model.to_tokens(prompts)
        >>> last = [model.to_tokens(prompt).shape[1] - 1 for prompt in prompts]
        >>> _, both = model.run_with_cache(tokens)
        >>> graphs = attribution_graphs(both, model, [" Paris", " York"], pos=last, max_edges=1000)
        >>> [graph.metadata.target.label for graph in graphs]
        ["' Paris'", "' York'"]
    """
    cache = as_cache(cache, model)
    n_prompts = len(cache.batched("embed"))
    target = as_target(
        cache, _one_each(answers, n_prompts, "answers"), _one_each(wrong_answers, n_prompts, "wrong_answers"), pos
    )
    if target.value.shape[1] != 1:
        raise InputError(f"A graph explains one number. The Target has {target.value.shape[1]} for each prompt.")
    limits = Limits(max_edges, min_share, memory_budget)
    return _graphs(cache, target, rule, limits, check)


def _one_each(answers: Any, n_prompts: int, argument: str) -> Any:
    """A list of one answer per prompt in the form of targets: ``[batch, token]``."""
    if answers is None or isinstance(answers, (str, int, Target)):
        return answers
    if len(answers) != n_prompts:
        raise InputError(f"`{argument}` must have one answer for each of {n_prompts} prompts. Got {len(answers)}.")
    return [[answer] for answer in answers]


@torch.inference_mode()
def _graphs(cache: ActivationCache, target: Target, rule: str, limits: Limits, check: bool) -> list[AttributionGraph]:
    mlp_rule = rule_named(rule)
    if not limits.complete:
        checked_settings(limits.pruning)
    components = head_components(cache.weights)
    n_pos = cone(target)
    room = memory(cache, len(target.pos), n_pos, components, limits)
    if check:
        ensure_checked(cache)
    outputs = rearrange(component_outputs(cache, components, n_pos), "c b pos d_model -> b pos c d_model")
    sources = Sources(cache, components, outputs, room)
    root = "direction" if target.answers is None else "logit"
    assemblies = [
        Assembly(components, n_pos, root, _collector(components, outputs, value, limits, room.most_edges))
        for value in target.value[:, 0].tolist()
    ]
    edges_before = [0] * len(assemblies)
    balance = Balance(components, outputs)
    parts = sweep(cache, target, components, outputs, mlp_rule)
    for part in tracked(parts, total=2 * target.layer + 2, description="Attribution graph"):
        if isinstance(part, Swept):
            balance.add(part)
        for prompt, assembly in enumerate(assemblies):
            assembly.add(part, prompt, sources)
            if not limits.complete and isinstance(part, Swept):
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
            graph = graph.prune(**limits.pruning)
        graphs.append(graph)
    return graphs


def _collector(components: Components, outputs: Tensor, value: float, limits: Limits, most_edges: int) -> Collector:
    n_pos = outputs.shape[1]
    if limits.complete:
        return Everything(n_pos, complete_edges(components, n_pos), outputs)
    min_weight = 0.0 if limits.min_share is None else limits.min_share * abs(value)
    return Strongest(n_pos, limits.max_edges, min_weight, most_edges)
