"""Recursive direct logit attribution: what each head and MLP of a transformer gives to a logit, and where that is from.

The pipeline, each step with its module:

    model = load_model("demo")                           # model/loading.py: one of TransformerLens; any will do
    logits, cache = model.run_with_cache(prompt)         # TransformerLens's own forward pass and cache
    breakdown = break_down(cache, model, " Mary")        # breakdown.py: one level, each head by what it read
    graph = attribution_graph(cache, model, " Mary")     # graph.py: all levels at once, to the embeddings
    tree = attribution_tree(cache, model, " Mary")       # tree.py: the same, path by path
    graph.prune(max_edges=500).save("graph.html")        # output/: files, figures, the explorer

All three pull the answer's direction back through the model with attribution/pullback.py.

Every number adds up: sources plus named constants equal what they explain.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recursive_dla.version import __version__ as __version__

if TYPE_CHECKING:
    from recursive_dla.attribution.ranking import rank_components
    from recursive_dla.attribution.targets import (
        Target,
        centred_logit_target,
        direction_target,
        log_prob_target,
        logit_target,
    )
    from recursive_dla.breakdown import (
        Breakdown,
        break_down,
        dla_attn_head_breakdown_source_component,
        dla_mlp_breakdown_source_component,
    )
    from recursive_dla.cache.activation_cache import ActivationCache, check
    from recursive_dla.cache.recording import run_with_lean_cache
    from recursive_dla.comparison import GraphDifference, compare
    from recursive_dla.errors import CacheError, InputError, UnsupportedModelError
    from recursive_dla.graph import AttributionGraph, attribution_graph, attribution_graphs
    from recursive_dla.model.loading import load_model
    from recursive_dla.paths import Paths
    from recursive_dla.scores import ScoreBreakdown, attention_score_breakdown
    from recursive_dla.tree import AttributionTree, attribution_tree, strongest_paths

_HOMES = {
    "ActivationCache": "cache.activation_cache",
    "AttributionGraph": "graph",
    "AttributionTree": "tree",
    "Breakdown": "breakdown",
    "CacheError": "errors",
    "GraphDifference": "comparison",
    "InputError": "errors",
    "Paths": "paths",
    "ScoreBreakdown": "scores",
    "Target": "attribution.targets",
    "UnsupportedModelError": "errors",
    "attention_score_breakdown": "scores",
    "attribution_graph": "graph",
    "attribution_graphs": "graph",
    "attribution_tree": "tree",
    "break_down": "breakdown",
    "centred_logit_target": "attribution.targets",
    "check": "cache.activation_cache",
    "compare": "comparison",
    "direction_target": "attribution.targets",
    "dla_attn_head_breakdown_source_component": "breakdown",
    "dla_mlp_breakdown_source_component": "breakdown",
    "load_model": "model.loading",
    "log_prob_target": "attribution.targets",
    "logit_target": "attribution.targets",
    "rank_components": "attribution.ranking",
    "run_with_lean_cache": "cache.recording",
    "strongest_paths": "tree",
}

__all__ = [
    "ActivationCache",
    "AttributionGraph",
    "AttributionTree",
    "Breakdown",
    "CacheError",
    "GraphDifference",
    "InputError",
    "Paths",
    "ScoreBreakdown",
    "Target",
    "UnsupportedModelError",
    "attention_score_breakdown",
    "attribution_graph",
    "attribution_graphs",
    "attribution_tree",
    "break_down",
    "centred_logit_target",
    "check",
    "compare",
    "direction_target",
    "dla_attn_head_breakdown_source_component",
    "dla_mlp_breakdown_source_component",
    "load_model",
    "log_prob_target",
    "logit_target",
    "rank_components",
    "run_with_lean_cache",
    "strongest_paths",
]


def __getattr__(name: str) -> Any:
    # Names load their module when first used, so that the import itself stays quick.
    if name in _HOMES:
        return getattr(import_module(f"recursive_dla.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
