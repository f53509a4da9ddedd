"""Growing an attribution tree: always the strongest node next, under a budget.

1. The root is the target, or a component with the direction that the target reads from it over all paths.
2. Of all nodes that may be expanded, the one with the largest absolute weight is next. It gets its strongest sources
   and its constants as children, and one child ``rest`` for everything else, so its children sum to its weight.
3. That goes on until the budget is spent or nothing is left within the depth that was asked for.

The numbers are made ahead in batches (:mod:`recursive_dla.trees.expansion`): when the next node has not been computed, the
strongest ones after it are computed with it. Which nodes are expanded, and in which order, does not depend on that; so
a tree grown in two steps is the tree grown in one. Nothing is ever computed twice.
"""

from __future__ import annotations

import heapq
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recursive_dla import __version__
from recursive_dla.adapters import token_texts
from recursive_dla.cache import ActivationCache, as_cache
from recursive_dla.checks import ensure_checked
from recursive_dla.errors import InputError
from recursive_dla.graph import GraphTarget, Token
from recursive_dla.progress import tracked
from recursive_dla.rules import DEFAULT_RULE, Rule, rule_named
from recursive_dla.targets import Answers, Positions, Target, as_target, resolve_positions
from recursive_dla.trees.expansion import Children, Expander, Strongest
from recursive_dla.trees.interrupts import interruptible
from recursive_dla.trees.tree import UNITS, AttributionTree, TreeMetadata, TreeNodes

# How many nodes are computed together, and how weak they may be beside the first of them. More and weaker ones would be
# quicker for each, but more of them for nothing.
_BATCH, _SMALLEST_BATCH, _NEARLY = 256, 8, 0.7


def attribution_tree(
    cache: Any,
    model: Any,
    answers: Answers | Target,
    *,
    wrong_answers: Answers | None = None,
    pos: Positions = None,
    start: str | None = None,
    unit: str = "heads",
    depth: int | None = 3,
    top_k: int | None = 5,
    min_share: float = 0.01,
    max_nodes: int | None = 1000,
    max_seconds: float | None = None,
    rule: str = DEFAULT_RULE,
    check: bool = True,
) -> AttributionTree:
    """What feeds an answer, what feeds that, and so on, path by path.

    Where a graph (:func:`recursive_dla.attribution_graph`) has each component once, with all paths through it summed, a
    node of a tree is one path. The weight of a child is what flows from it through its parent, and on along the path to
    the root: its output, read along the target's direction pulled back through every component between. For a head at
    ``q`` whose output is read along ``g``, the child ``c`` at ``k`` has

        weight = A[q, k] · (N^T W_V W_O g) · o_c[k] ,        and is itself read along    A[q, k] · N^T W_V W_O g .

    Which nodes are in the tree: at most ``top_k`` sources of each node, of at least ``min_share``; down to ``depth``
    levels; and among those the strongest first, while ``max_nodes`` and ``max_seconds`` last. With ``depth=None`` that
    is a best-first search of all paths; without a budget, a breadth-first one. :meth:`AttributionTree.grow` and
    :meth:`AttributionTree.expand` go on from where it stopped. Ctrl-C stops it too, and what is there is returned.

    Memory: the outputs of all components, ``[src_comp pos d_model]``, and one ``[d_model]`` vector for each expanded
    node (``top_k`` of them with ``unit="layers"``).

    Args:
        cache: The activations of one prompt: ours, or TransformerLens's own.
        model: The model that made them.
        answers: One answer: a string that is one token, or a token id. Or a :class:`recursive_dla.Target` of one
            number, for anything other than a logit.
        wrong_answers: The answer to subtract, for a logit difference.
        pos: The position whose logit is explained; the last by default.
        start: Where to start instead of at the answer: a component and a position, such as ``"L23H3@14"``,
            ``"L0MLP@4"``, ``"L5N123@4"`` (a neuron) or, with ``unit="layers"``, ``"L5Attn@14"``. What is explained is
            what this component gives to the answer, directly and through everything later: its attribution in the
            graph. It is read along the sum of the directions of all paths from it to the answer.
        unit: What the nodes are. ``"heads"``: heads and MLPs. ``"layers"``: a layer's whole attention, and MLPs.
            ``"neurons"``: heads, MLPs, and between an MLP and what it reads its neurons.
        depth: How many levels below the root; ``None`` for any.
        top_k: How many sources of each node at most; ``None`` for all.
        min_share: How much of the root's weight a source must have at least, in absolute terms, to be a child of its
            own.
        max_nodes: How many nodes to expand at most; ``None`` for any number.
        max_seconds: For how long to go on at most.
        rule: How MLPs are made linear: see :mod:`recursive_dla.rules`.
        check: Whether to verify the cache first: see :func:`recursive_dla.checks.check`.

    Returns:
        The tree. For every node that was expanded, Σ children = its weight; one child, ``rest``, is what was cut.

    Raises:
        InputError: Several prompts or answers, answers or positions that do not fit, an unknown rule or unit, a
            ``start`` that the target does not read or that reads nothing, a limit out of range, or nothing that limits
            the tree.
        CacheError: The cache lacks activations, or does not fit the model.
        UnsupportedModelError: The model has a part that is not handled.

    Source: path expansion as in Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits" (their virtual
    attention heads), with norms kept and MLPs made linear by ``rule``.

    Example:
        >>> tree = attribution_tree(cache, model, " Mary", wrong_answers=" John", depth=2, top_k=2)
        >>> print("\\n".join(str(tree).splitlines()[2:5]))
           +5.576 +100%  logit@14 ·to
           +2.078  +37%  ├ L23H3@14 ·to
           +1.654  +30%  │ ├ L0MLP@10 ·John  [4]
    """
    mlp_rule = rule_named(rule)
    limits = _limits(unit, depth, top_k, min_share, max_nodes, max_seconds)
    cache = as_cache(cache, model)
    target = as_target(cache, answers, wrong_answers, pos)
    n_prompts, n_answers = target.value.shape
    if n_prompts != 1 or n_answers != 1:
        raise InputError(
            f"A tree explains one answer to one prompt. Got {n_prompts} prompts and {n_answers} answers; "
            "make one tree each."
        )
    begin = None
    if start is not None:
        name, at = parse_start(start)
        begin = name, int(resolve_positions(at, 1, cache.batched("embed").shape[1]))
    if check:
        ensure_checked(cache)
    search = TreeSearch(cache, target, begin, mlp_rule, limits)
    metadata = _metadata(cache, target, rule, limits, search)
    tree = AttributionTree(search.nodes(), metadata, search)
    tree.grow(max_nodes, depth=depth, max_seconds=max_seconds)
    return tree


class Limits(NamedTuple):
    """What a tree's nodes are, and how many children each may have."""

    unit: str
    top_k: int | None
    min_share: float


def _limits(
    unit: str,
    depth: int | None,
    top_k: int | None,
    min_share: float,
    max_nodes: int | None,
    max_seconds: float | None,
) -> Limits:
    if unit not in UNITS:
        raise InputError(f"`unit` must be one of {', '.join(map(repr, UNITS))}. Got {unit!r}.")
    if top_k is not None and top_k < 1:
        raise InputError(f"`top_k` must be at least 1, or None for all. Got {top_k}.")
    if not min_share >= 0:
        raise InputError(f"`min_share` must be at least 0. Got {min_share}.")
    if depth is None and max_nodes is None and max_seconds is None:
        raise InputError("Give `depth`, `max_nodes` or `max_seconds`; a tree without any limit is too large.")
    return Limits(unit, top_k, min_share)


def parse_start(start: str) -> tuple[str, int]:
    """``"L23H3@14"`` as a name and a position, which may be negative.

    Raises:
        InputError: It does not have this form.
    """
    name, _, number = start.rpartition("@")
    try:
        pos = int(number)
    except ValueError:
        name = ""
    if not name:
        raise InputError(f"`start` must be a component and a position, such as 'L1H0@-1'. Got {start!r}.")
    return name, pos


def _metadata(cache: ActivationCache, target: Target, rule: str, limits: Limits, search: TreeSearch) -> TreeMetadata:
    weights, model = cache.weights, cache.model
    n_pos = cache.batched("embed").shape[1]
    ids = cache.tokens()
    numbers = [None] * n_pos if ids is None else ids[0].tolist()
    texts = [f"({pos})" for pos in range(n_pos)] if ids is None else token_texts(model, ids[0])
    return TreeMetadata(
        model=weights.name,
        tokens=tuple(Token(pos, number, text) for pos, (number, text) in enumerate(zip(numbers, texts, strict=True))),
        n_layers=weights.n_layers,
        n_heads=weights.n_heads,
        target=GraphTarget(
            label=target.labels[0],
            answer=None if target.answers is None else token_texts(model, target.answers[0])[0],
            wrong_answer=None if target.wrong_answers is None else token_texts(model, target.wrong_answers[0])[0],
            pos=int(target.pos[0]),
        ),
        value=float(target.value),
        unit=limits.unit,
        rule=rule,
        top_k=limits.top_k,
        min_share=limits.min_share,
        generator=f"recursive_dla {__version__}",
    )


class _Rows:
    """Direction vectors that are added to and never changed, in one tensor with room to spare."""

    def __init__(self, like: Tensor) -> None:
        self._stored = like.new_empty((256, like.shape[-1]))
        self._used = 0

    def add(self, rows: Float[Tensor, "row d_model"]) -> int:
        """The number of the first of them."""
        first, self._used = self._used, self._used + len(rows)
        if self._used > len(self._stored):
            stored = self._stored.new_empty((max(self._used, 2 * len(self._stored)), self._stored.shape[1]))
            stored[:first] = self._stored[:first]
            self._stored = stored
        self._stored[first : self._used] = rows
        return first

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        return self._stored[torch.as_tensor(rows, device=self._stored.device)]


class _Ready(NamedTuple):
    """Nodes that were expanded together, children by children; ``used`` says which there are."""

    used: np.ndarray
    columns: tuple[np.ndarray, ...]


class TreeSearch:
    """A tree while it grows: its nodes, which of them are next, and what is needed to go on.

    Args:
        cache: A checked cache of one prompt.
        target: What is explained.
        start: The component and position to start from; ``None`` for the target itself.
        rule: How MLPs are made linear.
        limits: What the nodes are, and how many children each has.
    """

    # Of each node, in the order in which they were added. A child's direction is `factor` times row `row`.
    _COLUMNS = (
        ("code", "q"),
        ("pos", "q"),
        ("parent", "q"),
        ("depth", "q"),
        ("weight", "d"),
        ("factor", "d"),
        ("row", "q"),
        ("sources", "q"),
        ("largest", "d"),
    )

    def __init__(
        self, cache: ActivationCache, target: Target, start: tuple[str, int] | None, rule: Rule, limits: Limits
    ) -> None:
        self._expander = Expander(cache, target, limits.unit, rule)
        self.vocabulary = self._expander.vocabulary
        code, pos, direction, weight = self._expander.root() if start is None else self._start(target, *start)
        self._rows = _Rows(direction)
        self._values: dict[str, Any] = {name: array(kind) for name, kind in self._COLUMNS}
        for name, value in zip(self._values, (code, pos, -1, 0, weight, 1.0, 0, 1, abs(weight)), strict=True):
            self._values[name].append(value)
        self._rows.add(direction[None])
        self._strongest = Strongest(limits.top_k, limits.min_share * abs(weight))
        self._expanded = array("b", [0])
        self._heap: list[tuple[float, int]] = [(-abs(weight), 0)]
        self._ready: dict[int, tuple[_Ready, int]] = {}
        self._ended = "complete"

    def _start(self, target: Target, name: str, pos: int) -> tuple[int, int, Tensor, float]:
        code = self.vocabulary.code(name)
        if code == self.vocabulary.root:
            if pos != int(target.pos[0]):
                raise InputError(f"The answer is read at position {int(target.pos[0])}. Got `start` {name}@{pos}.")
            return self._expander.root()
        _, layer = self.vocabulary.stage(code)
        direction = None
        if layer < target.layer and pos <= int(target.pos[0]):
            direction = self._expander.total_direction(code, pos)
        if direction is None or not direction.any():
            raise InputError(
                f"{name}@{pos} gives nothing to what is read at position {int(target.pos[0])} before layer"
                f" {target.layer}; start from something that does."
            )
        return code, pos, direction, self._expander.weight(code, pos, direction)

    # --- growing -------------------------------------------------------------------------------------------------

    def grow(
        self,
        nodes: int | None,
        depth: int | None,
        seconds: float | None,
        paths: int | None = None,
    ) -> str:
        """Expand the strongest nodes, one after the other.

        Args:
            nodes: How many at most.
            depth: Only nodes above this level.
            seconds: For how long.
            paths: Stop when so many leaves are there, each at least as strong as the next node.

        Returns:
            Why it ended: ``"complete"``, ``"nodes"``, ``"seconds"``, ``"enough"`` or ``"interrupted"``.
        """
        start = time.monotonic()
        strong = None if paths is None else _StrongLeaves(paths)
        with interruptible() as interrupt:

            def ended(done: int, size: float) -> str | None:
                if nodes is not None and done >= nodes:
                    return "nodes"
                if seconds is not None and time.monotonic() - start >= seconds:
                    return "seconds"
                if interrupt.requested:
                    return "interrupted"
                return "enough" if strong is not None and strong.enough(self, size) else None

            self._ended = "complete"
            # Whether all nodes within reach will be expanded, so that none is computed for nothing.
            to_the_end = seconds is None and paths is None
            for _ in tracked(self._steps(nodes, depth, ended, to_the_end), nodes, "Expanding nodes"):
                pass
        return self._ended

    def _steps(
        self, nodes: int | None, depth: int | None, ended: Callable[[int, float], str | None], to_the_end: bool
    ) -> Iterator[int]:
        """Expand one node after the other, until ``ended`` says why not."""
        done, aside = 0, []
        try:
            while self._heap:
                size, node = self._heap[0]
                if self._expanded[node]:
                    heapq.heappop(self._heap)
                    continue
                if depth is not None and self._values["depth"][node] >= depth:
                    aside.append(heapq.heappop(self._heap))
                    continue
                if reason := ended(done, -size):
                    self._ended = reason
                    break
                if node not in self._ready:
                    left = len(self._heap) if nodes is None else nodes - done
                    every = to_the_end and len(self._heap) <= left
                    most = left if every else max(_SMALLEST_BATCH, left - len(self._ready))
                    self._compute(self._next(min(_BATCH, most), depth, every))
                heapq.heappop(self._heap)
                self._commit(node)
                done += 1
                yield done
        finally:
            for item in aside:
                heapq.heappush(self._heap, item)

    def expand(self, nodes: Iterable[int]) -> None:
        """Expand these nodes, whatever their weight and depth; those that already are stay as they are.

        Raises:
            InputError: There is no such node, or it is a leaf.
        """
        wanted = [int(node) for node in dict.fromkeys(nodes)]
        for node in wanted:
            if not 0 <= node < len(self._expanded):
                raise InputError(f"The tree has the nodes 0 to {len(self._expanded) - 1}. Got {node}.")
        codes = np.array([self._values["code"][node] for node in wanted], dtype=np.int64)
        for node, code, inner in zip(wanted, codes.tolist(), self.vocabulary.expandable(codes), strict=True):
            if not inner:
                raise InputError(f"Node {node}, {self.vocabulary.meaning(code).name}, has no sources to show.")
        wanted = [node for node in wanted if not self._expanded[node]]
        missing = [node for node in wanted if node not in self._ready]
        if missing:
            self._compute(missing)
        for node in wanted:
            self._commit(node)

    def _next(self, most: int, depth: int | None, to_the_end: bool) -> list[int]:
        """The strongest nodes that are to be expanded and not computed yet.

        Unless all will be expanded, only those that are nearly as strong as the first: the others may wait long.
        """
        least = 0.0 if to_the_end else -_NEARLY * self._heap[0][0]
        taken: list[tuple[float, int]] = []
        found: list[int] = []
        while self._heap and len(found) < most and -self._heap[0][0] >= least:
            taken.append(heapq.heappop(self._heap))
            node = taken[-1][1]
            deep = depth is not None and self._values["depth"][node] >= depth
            if not deep and not self._expanded[node] and node not in self._ready:
                found.append(node)
        for item in taken:
            heapq.heappush(self._heap, item)
        return found

    def _compute(self, nodes: list[int]) -> None:
        """The children of nodes, in one batch."""
        at = {name: np.array([self._values[name][node] for node in nodes]) for name in ("code", "pos", "row", "factor")}
        rows = self._rows[at["row"]]
        directions = rows * torch.as_tensor(at["factor"], dtype=rows.dtype, device=rows.device)[:, None]
        for children in self._expander.expand(at["code"], at["pos"], directions, self._strongest):
            ready = self._collect(children, at["pos"][children.nodes])
            for place, member in enumerate(children.nodes.tolist()):
                self._ready[nodes[member]] = (ready, place)

    def _collect(self, children: Children, pos: np.ndarray) -> _Ready:
        """Sources, constants and the rest of each node side by side."""
        n, k = children.weight.shape
        names = list(children.constants)
        constants = [self.vocabulary.constant(children.layer, name) for name in names]
        if children.directions.ndim == 2:
            first = self._rows.add(children.directions)
            row = np.arange(first, first + n)[:, None].repeat(k, 1)
        else:
            first = self._rows.add(children.directions.flatten(0, 1))
            row = np.arange(first, first + n * k).reshape(n, k)
        weight = _numpy(children.weight).astype(np.float64)
        of_constants = np.empty((n, len(names)))
        for place, name in enumerate(names):
            of_constants[:, place] = _numpy(children.constants[name])
        rest, count = _numpy(children.rest)[:, None], _numpy(children.n_cut)[:, None]
        others = np.zeros((n, len(names) + 1), dtype=np.int64)
        used = np.concatenate([_numpy(children.kept), of_constants != 0, count > 0], axis=1)
        columns = {
            "code": [_numpy(children.code), np.array([constants], dtype=np.int64).repeat(n, 0), others[:, :1] - 0],
            "pos": [_numpy(children.pos), others[:, 1:] + pos[:, None], others[:, :1] - 1],
            "weight": [weight, of_constants, rest],
            "factor": [_numpy(children.factor).astype(np.float64), others],
            "row": [row, others],
            "sources": [np.ones((n, k), dtype=np.int64), others[:, 1:] + 1, count],
            "largest": [np.abs(weight), np.abs(of_constants), _numpy(children.largest).astype(np.float64)[:, None]],
        }
        columns["code"][2] = columns["code"][2] + self.vocabulary.rest
        return _Ready(used, tuple(np.concatenate(columns[name], axis=1) for name in _CHILD_COLUMNS))

    def _commit(self, node: int) -> None:
        """Add a node's computed children to the tree."""
        ready, place = self._ready.pop(node)
        used = ready.used[place]
        first, count = len(self._expanded), int(used.sum())
        for name, column in zip(_CHILD_COLUMNS, ready.columns, strict=True):
            self._values[name].extend(column[place, used].tolist())
        self._values["parent"].extend([node] * count)
        self._values["depth"].extend([self._values["depth"][node] + 1] * count)
        self._expanded.extend([0] * count)
        self._expanded[node] = 1
        codes = np.frombuffer(self._values["code"], dtype=np.int64)[first:]
        inner = self.vocabulary.expandable(codes)
        del codes  # an array cannot grow while numpy looks at it
        for child in (first + np.nonzero(inner)[0]).tolist():
            heapq.heappush(self._heap, (-self._values["largest"][child], child))

    # --- what is there -------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The number of nodes so far."""
        return len(self._expanded)

    def leaves(self, first: int) -> list[float]:
        """The absolute weights of the leaves among the nodes from ``first`` on, the rests left out."""
        codes, sizes = (np.array(self._values[name][first:]) for name in ("code", "largest"))
        return sizes[~self.vocabulary.expandable(codes) & (codes != self.vocabulary.rest)].tolist()

    def nodes(self) -> TreeNodes:
        """The nodes so far, as flat arrays."""
        columns = {name: np.array(values) for name, values in self._values.items()}
        codes, inverse = np.unique(columns["code"], return_inverse=True)
        return TreeNodes(
            meanings=tuple(self.vocabulary.meaning(code) for code in codes.tolist()),
            meaning=inverse,
            expanded=np.array(self._expanded, dtype=bool),
            **{name: columns[name] for name in ("parent", "depth", "pos", "weight", "sources", "largest")},
        )


class _StrongLeaves:
    """Says when a search has found ``count`` leaves, none of them weaker than the next node."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen = 0
        self._sizes: list[float] = []

    def enough(self, search: TreeSearch, size: float) -> bool:
        """Whether the next node, of this absolute weight, is not worth a look."""
        for leaf in search.leaves(self._seen):
            heapq.heappush(self._sizes, leaf)
            if len(self._sizes) > self._count:
                heapq.heappop(self._sizes)
        self._seen = search.size
        return len(self._sizes) == self._count and self._sizes[0] >= size


_CHILD_COLUMNS = ("code", "pos", "weight", "factor", "row", "sources", "largest")


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
