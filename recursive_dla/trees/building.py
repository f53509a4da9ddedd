"""From a cache and an answer to an attribution tree: what was asked for, the search that grows it, and the tree."""

from __future__ import annotations

from typing import Any

from recursive_dla import __version__
from recursive_dla.attribution.mlp_rules import DEFAULT_RULE, rule_named
from recursive_dla.attribution.provenance import provenances
from recursive_dla.attribution.targets import Answers, Positions, Target, as_single_target, resolve_positions
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.cache.checks import ensure_checked
from recursive_dla.errors import InputError
from recursive_dla.trees.search import Limits, TreeSearch
from recursive_dla.trees.tree import UNITS, AttributionTree, TreeMetadata


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
        rule: How MLPs are made linear: see :mod:`recursive_dla.attribution.mlp_rules`.
        check: Whether to verify the cache first: see :func:`recursive_dla.cache.checks.check`.

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
    target = as_single_target(cache, answers, wrong_answers, pos, explains="tree", instead="make one tree each")
    begin = None
    if start is not None:
        name, at = parse_start(start)
        begin = name, int(resolve_positions(at, 1, cache.batched("embed").shape[1]))
    if check:
        ensure_checked(cache)
    search = TreeSearch(cache, target, begin, mlp_rule, limits)
    (provenance,) = provenances(cache, target)
    metadata = TreeMetadata(**vars(provenance), **limits._asdict(), rule=rule, generator=f"recursive_dla {__version__}")
    tree = AttributionTree(search.nodes(), metadata, search)
    tree.grow(max_nodes, depth=depth, max_seconds=max_seconds)
    return tree


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
