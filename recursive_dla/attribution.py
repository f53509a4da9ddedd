"""Building the attribution graph of a prompt: the sweep's numbers as nodes and edges."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recursive_dla import __version__
from recursive_dla.adapters import token_texts
from recursive_dla.cache import ActivationCache, as_cache
from recursive_dla.checks import ensure_checked
from recursive_dla.components import Component, Components, head_components
from recursive_dla.errors import InputError
from recursive_dla.graph import AttributionGraph, GraphMetadata, GraphTarget, Token
from recursive_dla.recursion import EdgeBlock, Leaves, Swept, sweep
from recursive_dla.rules import DEFAULT_RULE, rule_named
from recursive_dla.targets import Answers, Positions, Target, as_target
from recursive_dla.writers import component_outputs

# Twelve bytes each while collecting, and as many again in the finished graph.
MAX_COMPLETE_EDGES = 100_000_000


@torch.no_grad()
def attribution_graph(
    cache: Any,
    model: Any,
    answers: Answers | Target,
    *,
    wrong_answers: Answers | None = None,
    pos: Positions = None,
    rule: str = DEFAULT_RULE,
    check: bool = True,
) -> AttributionGraph:
    """The complete attribution graph of one answer to one prompt.

    Every head, MLP, embedding and bias at every position is a node, and the weight of an edge is what the destination's
    contribution to the logit takes from the source:

        logit ← c@q:      g_f · o_c[q]
        MLP@q ← c@q:      N^T J^T g[q] · o_c[q]
        head@q ← c@k:     A[q, k] · N^T W_V W_O g[q] · o_c[k]

    with ``g[q]`` what the answer reads at ``q`` over all paths. See :mod:`recursive_dla.recursion`.

    Args:
        cache: The activations of one prompt: ours, or TransformerLens's own.
        model: The model that made them.
        answers: One answer: a string that is one token, or a token id. Or a :class:`recursive_dla.Target` of one
            number, for anything other than a logit.
        wrong_answers: The answer to subtract, for a logit difference.
        pos: The position whose logit is explained; the last by default.
        rule: How MLPs are made linear: see :mod:`recursive_dla.rules`.
        check: Whether to verify the cache first: see :func:`recursive_dla.checks.check`.

    Returns:
        The graph. For every node, Σ in-edges = attribution = Σ out-edges, and the leaves sum to the logit.

    Raises:
        InputError: Several prompts or answers, answers or positions that do not fit, an unknown rule, or a prompt whose
            complete graph is too large.
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
    mlp_rule = rule_named(rule)
    cache = as_cache(cache, model)
    target = as_target(cache, answers, wrong_answers, pos)
    n_prompts, n_answers = target.value.shape
    if n_prompts != 1 or n_answers != 1:
        raise InputError(
            f"A graph explains one answer to one prompt. Got {n_prompts} prompts and {n_answers} answers; "
            "make one graph each."
        )
    components = head_components(cache.weights)
    n_pos = cache.batched("embed").shape[1]
    _refuse_too_large(components, n_pos)
    if check:
        ensure_checked(cache)
    outputs = component_outputs(cache, components)
    builder = _Builder(components, n_pos, "direction" if target.answers is None else "logit")
    for part in sweep(cache, target, components, outputs, mlp_rule):
        builder.add(part)
    return builder.graph(_metadata(cache, target, rule, builder.sum_of_leaves()))


def _refuse_too_large(components: Components, n_pos: int) -> None:
    n_heads = sum(component.kind == "head" for component in components.all) // len(components.before_attention)
    n_edges = sum(components.before_attention) * n_heads * n_pos * (n_pos + 1) // 2
    if n_edges > MAX_COMPLETE_EDGES:
        raise InputError(
            f"The complete graph of {n_pos} tokens has about {n_edges:,} edges; at most {MAX_COMPLETE_EDGES:,}"
            " are built. Shorten the prompt."
        )


def _metadata(cache: ActivationCache, target: Target, rule: str, sum_of_leaves: float) -> GraphMetadata:
    weights, model = cache.weights, cache.model
    n_pos = cache.batched("embed").shape[1]
    ids = cache.tokens()
    texts = [f"({pos})" for pos in range(n_pos)] if ids is None else token_texts(model, ids[0])
    value = float(target.value)
    return GraphMetadata(
        model=weights.name,
        tokens=tuple(
            Token(pos, None if ids is None else int(token_id), text)
            for pos, (token_id, text) in enumerate(
                zip([0] * n_pos if ids is None else ids[0].tolist(), texts, strict=True)
            )
        ),
        n_layers=weights.n_layers,
        n_heads=weights.n_heads,
        target=GraphTarget(
            label=target.labels[0],
            answer=None if target.answers is None else token_texts(model, target.answers[0])[0],
            wrong_answer=None if target.wrong_answers is None else token_texts(model, target.wrong_answers[0])[0],
            pos=int(target.pos[0]),
        ),
        value=value,
        completeness_error=abs(sum_of_leaves - value) / max(abs(value), 1e-12),
        rule=rule,
        generator=f"recursive_dla {__version__}",
    )


class _Group(NamedTuple):
    """One component, or one constant of a layer, at every position."""

    kind: str
    component: str
    name: str
    layer: int
    head: int


class _Builder:
    """Collects the sweep's tensors as flat arrays of nodes and edges.

    A group at a position has the number ``group * n_pos + pos``: components first, by place, then the logit, then
    constants as they are met. The finished graph drops the nodes without edges and keeps this order.
    """

    def __init__(self, components: Components, n_pos: int, root: str) -> None:
        self._n_pos = n_pos
        self._groups = [_Group(c.kind, c.label, _name(c), c.layer, c.head) for c in components.all]
        self._groups.append(_Group("logit", root, root, len(components.before_attention), -1))
        self._constants: dict[str, int] = {}
        self._attribution: dict[int, np.ndarray] = {}
        self._edges: list[tuple[np.ndarray, ...]] = []

    def add(self, part: Swept | Leaves) -> None:
        """Take one part of the sweep, of a single prompt."""
        if isinstance(part, Leaves):
            for place, attribution in part.attribution.items():
                self._attribution[place] = _numpy(attribution[0])
            return
        for offset, attribution in enumerate(_numpy(part.attribution[0])):
            self._attribution[part.first + offset] = self._spread(part.dest_pos, attribution)
        for block in part.edges:
            self._add_edges(part.first, block)
        for name, constant in part.constants.items():
            self._add_constant(part, name, _numpy(constant[0]))

    def _add_edges(self, first: int, block: EdgeBlock) -> None:
        weight = _numpy(block.weight[0])
        dest_pos = np.arange(block.dest_pos.start, block.dest_pos.stop, dtype=np.int32)
        source: np.ndarray = np.arange(weight.shape[2], dtype=np.int32) * self._n_pos
        target: np.ndarray = (first + np.arange(weight.shape[0], dtype=np.int32))[:, None] * self._n_pos + dest_pos
        if block.src_pos is None:
            target, source = target[..., None], source + dest_pos[:, None]
        else:
            source = source[:, None] + np.arange(block.src_pos.start, block.src_pos.stop, dtype=np.int32)
            target = target[..., None, None]
        self._keep_nonzero(source, target, weight)

    def _keep_nonzero(self, source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> None:
        present = weight != 0
        self._edges.append(tuple(np.broadcast_to(array, weight.shape)[present] for array in (source, target, weight)))

    def _add_constant(self, part: Swept, name: str, constant: np.ndarray) -> None:
        of_logit = part.kind == "logit"
        node = name if of_logit else f"L{part.layer}.{name}"
        if node not in self._constants:
            self._constants[node] = len(self._groups)
            self._groups.append(
                _Group(
                    kind="remainder" if name == "remainder" else "bias",
                    component=name if of_logit else f"{part.layer}_{name}",
                    name=node,
                    layer=part.layer,
                    head=-1,
                )
            )
        # Heads and MLP of a parallel block may share a norm, whose bias is one node then.
        group = self._constants[node]
        self._attribution[group] = self._spread(part.dest_pos, constant.sum(0)) + self._attribution.get(group, 0)
        dest = (part.first + np.arange(len(constant), dtype=np.int32)) * self._n_pos
        pos = np.arange(part.dest_pos.start, part.dest_pos.stop, dtype=np.int32)
        self._keep_nonzero(group * self._n_pos + pos, dest[:, None] + pos, constant)

    def _spread(self, positions: range, values: np.ndarray) -> np.ndarray:
        everywhere = np.zeros(self._n_pos, dtype=values.dtype)
        everywhere[positions.start : positions.stop] = values
        return everywhere

    def sum_of_leaves(self) -> float:
        """What embeddings, biases and remainders sum to, in double precision."""
        return float(
            sum(
                attribution.sum(dtype=np.float64)
                for group, attribution in self._attribution.items()
                if self._groups[group].kind not in ("head", "mlp", "logit")
            )
        )

    def graph(self, metadata: GraphMetadata) -> AttributionGraph:
        """The graph of everything added."""
        source, target, weight = (np.concatenate(parts) for parts in zip(*self._edges, strict=True))
        used = np.zeros(len(self._groups) * self._n_pos, dtype=bool)
        used[source] = used[target] = True
        numbers = used.nonzero()[0]
        if len(numbers) < len(used):
            rows = np.cumsum(used, dtype=np.int32) - 1
            source, target = rows[source], rows[target]
        # A target that reads the stream early has nothing from the layers after it.
        nothing = np.zeros(self._n_pos, dtype=weight.dtype)
        attribution = np.stack([self._attribution.get(group, nothing) for group in range(len(self._groups))]).flatten()
        groups = [self._groups[number // self._n_pos] for number in numbers]
        pos = numbers % self._n_pos
        nodes = pd.DataFrame(
            {
                "id": [f"{group.name}@{at}" for group, at in zip(groups, pos, strict=True)],
                "kind": [group.kind for group in groups],
                "component": [group.component for group in groups],
                "layer": [group.layer for group in groups],
                "head": [group.head for group in groups],
                "pos": pos,
                "token": [metadata.tokens[at].text for at in pos],
                "attribution": attribution[numbers],
                "rest_in": 0.0,
                "rest_out": 0.0,
            }
        )
        return AttributionGraph(nodes, source, target, weight, metadata)


def _name(component: Component) -> str:
    """The part of a node's id before the position."""
    if component.kind == "mlp":
        return f"L{component.layer}MLP"
    return f"L{component.layer}.b_O" if component.kind == "bias" else component.label


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
