"""What a graph may hold and what making it may take: the limits that were asked for, and the memory shared out."""

from __future__ import annotations

from typing import Any, NamedTuple

from recursive_dla.attribution.components import Components
from recursive_dla.cache.activations import Activations
from recursive_dla.errors import InputError
from recursive_dla.graphs.pruning import only_given
from recursive_dla.graphs.value_space import virtual_weights_bytes

MEMORY_BUDGET = 2 * 2**30

# While the strongest are collected and put together: numbers of both ends and the weight, twice, then what sorts them.
_BYTES_OF_KEPT_EDGE = 96
# The strongest are chosen whenever this many times as many have come.
COLLECTED_BETWEEN = 4


class GraphLimits(NamedTuple):
    """What a graph may hold, and what making it may take."""

    max_edges: int | None
    min_share: float | None
    memory_budget: int

    @property
    def complete(self) -> bool:
        return not self.pruning

    @property
    def pruning(self) -> dict[str, Any]:
        """What to ask of :meth:`AttributionGraph.prune`."""
        return only_given(max_edges=self.max_edges, min_share=self.min_share)


class Memory(NamedTuple):
    """The memory budget, shared out.

    Attributes:
        block_bytes: How large a block of edges may be.
        virtual_weights: Whether there is room for them (:mod:`recursive_dla.graphs.value_space`).
        most_edges: How many edges each graph can keep, where ``max_edges`` does not say.
    """

    block_bytes: int
    virtual_weights: bool
    most_edges: int


def memory(cache: Activations, n_prompts: int, n_pos: int, components: Components, limits: GraphLimits) -> Memory:
    """Share the memory budget out.

    Raises:
        InputError: It is not enough.
    """
    weights = cache.weights
    size = cache.batched("embed").element_size()
    # What components wrote, and the streams that their destinations read.
    outputs = n_prompts * n_pos * (len(components) + 2 * weights.n_layers + 1) * weights.d_model * size
    n_edges = complete_edges(components, n_pos)
    if limits.complete:
        # The rows of both ends, and the weights; one of them twice, and a mark, while zeros are dropped.
        kept = n_prompts * n_edges * (9 + 2 * size)
        what = f"The complete graph of {n_pos} tokens has about {n_edges:,} edges; it"
        remedy = "Give `max_edges` (20,000, say), or"
    else:
        most = 0 if limits.max_edges is None else min(limits.max_edges, n_edges)
        kept = n_prompts * (1 + COLLECTED_BETWEEN) * most * _BYTES_OF_KEPT_EDGE
        what, remedy = f"The graph of {n_pos} tokens", "Shorten the prompt, or"
    left = limits.memory_budget - outputs - kept
    if left < 2**20:
        raise InputError(
            f"{what} needs about {(outputs + kept) / 2**20:,.0f} MiB beside the cache, and the memory budget is"
            f" {limits.memory_budget / 2**20:,.0f} MiB. {remedy} raise `memory_budget`."
        )
    virtual = virtual_weights_bytes(weights, n_prompts, n_pos, size)
    fits = virtual <= left // 2
    if fits:
        left -= virtual
    # To find what a block is worth keeping takes several times its size.
    block = min(left // 16, 2**26)
    return Memory(block, fits, (left - 4 * block) // (n_prompts * _BYTES_OF_KEPT_EDGE))


def complete_edges(components: Components, n_pos: int) -> int:
    """How many edges the complete graph of a prompt has at most, but for those of constants."""
    n_heads = sum(component.kind == "head" for component in components.all) // len(components.before_attention)
    of_heads = sum(components.before_attention) * n_heads * n_pos * (n_pos + 1) // 2
    return of_heads + sum(components.before_mlp) * n_pos + len(components)
