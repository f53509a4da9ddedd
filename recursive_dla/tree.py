"""The attribution tree of an answer, one path at a time: grown from a cache, looked at, drawn and saved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recursive_dla.attribution.mlp_rules import DEFAULT_RULE, rule_named
from recursive_dla.attribution.provenance import provenances
from recursive_dla.attribution.targets import Answers, Positions, Target, as_single_target, resolve_positions
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.cache.checks import ensure_checked
from recursive_dla.errors import InputError
from recursive_dla.output.tree_text import headline, tree_text
from recursive_dla.paths import Paths
from recursive_dla.trees.data import UNITS, TreeData, TreeMetadata, tree_table
from recursive_dla.trees.paths import at_least_one, paths_of
from recursive_dla.trees.search import TreeLimits, TreeSearch
from recursive_dla.trees.vocabulary import parse_start
from recursive_dla.version import __version__

if TYPE_CHECKING:
    import networkx as nx
    import plotly.graph_objects as go

    from recursive_dla.output.style import ThemeName


class AttributionTree(TreeData):
    """Paths into one answer, or into one component on the way to it: the data, how it grows, and what to do with it.

    The data (``nodes``, ``metadata``, ``ended``) and the sums that hold are those of
    :class:`recursive_dla.trees.data.TreeData`. Made by :func:`recursive_dla.attribution_tree`.

    Example:
        >>> tree = attribution_tree(cache, model, " Mary", wrong_answers=" John", start="L23H3@14", depth=1, top_k=2)
        >>> tree.nodes[["id", "token", "weight"]].round(3).values.tolist()[1:3]
        [['L0MLP@10', ' John', 1.929], ['L0MLP@4', ' Mary', -0.212]]
        >>> bool(abs(tree.nodes["weight"][1:].sum() - tree.nodes["weight"][0]) < 1e-5)
        True
    """

    def __init__(
        self, nodes: pd.DataFrame | None, metadata: TreeMetadata, search: TreeSearch | None = None, ended: str = ""
    ) -> None:
        self._nodes = nodes
        self.metadata = metadata
        self.ended = ended
        self._search = search

    @property
    def nodes(self) -> pd.DataFrame:
        """The table of nodes: see :attr:`recursive_dla.trees.data.TreeData.nodes`."""
        if self._nodes is None:
            assert self._search is not None
            self._nodes = tree_table(self._search.nodes(), self.metadata)
        return self._nodes

    # --- growing -------------------------------------------------------------------------------------------------

    def grow(
        self,
        max_nodes: int | None = 100,
        *,
        depth: int | None = None,
        max_seconds: float | None = None,
        paths: int | None = None,
    ) -> AttributionTree:
        """Expand the strongest nodes that are not expanded yet. Nothing that was computed is computed again.

        Ctrl-C stops it after the nodes it is at; the tree keeps what it has.

        Args:
            max_nodes: How many at most; ``None`` for any number.
            depth: Only down to this many levels below the root; ``None`` for any.
            max_seconds: For how long at most.
            paths: Stop as soon as there are so many complete paths, each at least as strong as any node that is not
                expanded.

        Returns:
            The tree itself, grown in place.

        Raises:
            InputError: A limit out of range or none at all, or a tree that was read from a file.

        Example:
            >>> tree = attribution_tree(cache, model, " Mary", depth=1)
            >>> before = len(tree.nodes)
            >>> len(tree.grow(10).nodes) > before
            True
        """
        search = self._growing()
        if max_nodes is None and depth is None and max_seconds is None and paths is None:
            raise InputError("Give `max_nodes`, `depth` or `max_seconds`; a tree without any limit is too large.")
        for name, limit in (("max_nodes", max_nodes), ("depth", depth), ("paths", paths)):
            if limit is not None and limit < 0:
                raise InputError(f"`{name}` must be at least 0, or None for any. Got {limit}.")
        if max_seconds is not None and not max_seconds >= 0:
            raise InputError(f"`max_seconds` must be at least 0. Got {max_seconds}.")
        try:
            self.ended = search.grow(max_nodes, depth, max_seconds, paths)
        finally:
            self._nodes = None
        return self

    def expand(self, nodes: int | Iterable[int]) -> AttributionTree:
        """Expand nodes of your choice, by their row in :attr:`nodes`, however weak or deep they are.

        Returns:
            The tree itself, grown in place.

        Raises:
            InputError: No such node, one that reads nothing (embeddings, biases, ``rest``), or a tree that was read
                from a file.

        Example:
            >>> tree = attribution_tree(cache, model, " Mary", wrong_answers=" John", depth=1)
            >>> tree.expand(tree.find("L23H3@14")).children(tree.find("L23H3@14"))["id"].iloc[0]
            'L0MLP@10'
        """
        search = self._growing()
        try:
            search.expand([nodes] if isinstance(nodes, (int, np.integer)) else nodes)
        finally:
            self._nodes = None
        return self

    def _growing(self) -> TreeSearch:
        if self._search is None:
            raise InputError(
                "A tree that was read from a file holds no activations to grow by. Make a new one with"
                " attribution_tree(cache, model, ...)."
            )
        return self._search

    # --- out --------------------------------------------------------------------------------------------------------

    def paths(self, count: int | None = 20) -> Paths:
        """The strongest complete paths of this tree, those that end in an embedding or a constant.

        See :func:`recursive_dla.strongest_paths`, which grows a tree for them.

        Raises:
            InputError: ``count`` is less than 1.
        """
        return Paths.of(paths_of(self, count))

    def to_networkx(self) -> nx.DiGraph:
        """A ``networkx.DiGraph`` with edges from parents to children; nodes are rows, with the columns as attributes.

        Example:
            >>> import networkx as nx
            >>> nx.is_arborescence(attribution_tree(cache, model, " Mary", depth=2).to_networkx())
            True
        """
        import networkx as nx

        from recursive_dla.output.files.graph_document import provenance_document

        nodes = self.nodes
        digraph = nx.DiGraph(**provenance_document(self.metadata))
        digraph.add_nodes_from(nodes.drop(columns="parent").to_dict("index").items())
        digraph.add_weighted_edges_from(
            zip(nodes["parent"].tolist()[1:], range(1, len(nodes)), nodes["weight"].tolist()[1:], strict=True)
        )
        return digraph

    def save(self, path: str | Path) -> Path:
        """Write the tree to ``path`` as JSON: see :mod:`recursive_dla.output.files.tree_json`.

        The file appears whole or not at all, and is the same to the byte for the same tree.

        Raises:
            InputError: Another extension than ``.json``, or a path that cannot be written.
        """
        from recursive_dla.output.files.tree_json import save

        return save(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> AttributionTree:
        """The tree that :meth:`save` wrote. It has all its numbers, but cannot grow.

        Raises:
            InputError: There is no such file, or it does not hold a tree.
        """
        from recursive_dla.output.files.tree_json import load

        data = load(Path(path))
        return AttributionTree(data.nodes, data.metadata)

    def figure(self, max_nodes: int = 60, theme: ThemeName = "light") -> go.Figure:
        """The tree as a plotly picture: see :func:`recursive_dla.figures.tree_figure`."""
        from recursive_dla.output.figures.tree import tree_figure

        return tree_figure(self, max_nodes=max_nodes, theme=theme)

    def __str__(self) -> str:
        return tree_text(self)

    def __repr__(self) -> str:
        return headline(self)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from recursive_dla.output.notebook import tree_html

        return tree_html(self)


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
    tree = AttributionTree(None, metadata, search)
    tree.grow(max_nodes, depth=depth, max_seconds=max_seconds)
    return tree


def _limits(
    unit: str,
    depth: int | None,
    top_k: int | None,
    min_share: float,
    max_nodes: int | None,
    max_seconds: float | None,
) -> TreeLimits:
    if unit not in UNITS:
        raise InputError(f"`unit` must be one of {', '.join(map(repr, UNITS))}. Got {unit!r}.")
    if top_k is not None and top_k < 1:
        raise InputError(f"`top_k` must be at least 1, or None for all. Got {top_k}.")
    if not min_share >= 0:
        raise InputError(f"`min_share` must be at least 0. Got {min_share}.")
    if depth is None and max_nodes is None and max_seconds is None:
        raise InputError("Give `depth`, `max_nodes` or `max_seconds`; a tree without any limit is too large.")
    return TreeLimits(unit, top_k, min_share)


def strongest_paths(
    cache: Any,
    model: Any,
    answers: Answers | Target,
    *,
    count: int = 20,
    wrong_answers: Answers | None = None,
    pos: Positions = None,
    start: str | None = None,
    unit: str = "heads",
    top_k: int | None = 100,
    max_nodes: int | None = 5000,
    max_seconds: float | None = 60.0,
    rule: str = DEFAULT_RULE,
    check: bool = True,
) -> Paths:
    """The strongest paths from embeddings and biases to an answer, through any number of components.

    A best-first search of the tree of all paths (:func:`recursive_dla.attribution_tree`): the node with the largest
    absolute weight is expanded next, until no node that is left is stronger than ``count`` complete paths, or the
    budget is spent. Which of the two it was is in the result, with the mass that was not explored.

    Args:
        cache: The activations of one prompt: ours, or TransformerLens's own.
        model: The model that made them.
        answers: One answer, or a :class:`recursive_dla.Target` of one number.
        count: How many paths.
        wrong_answers: The answer to subtract, for a logit difference.
        pos: The position whose logit is explained; the last by default.
        start: A component to start from, as for :func:`recursive_dla.attribution_tree`.
        unit: The same.
        top_k: How many sources of each node are followed at most; ``None`` for all.
        max_nodes: How many nodes to expand at most; ``None`` for any number.
        max_seconds: For how long at most; ``None`` for any time.
        rule: How MLPs are made linear: see :mod:`recursive_dla.attribution.mlp_rules`.
        check: Whether to verify the cache first: see :func:`recursive_dla.cache.checks.check`.

    Returns:
        The paths: Σ found + Σ weaker ones + unexplored = the logit.

    Raises:
        InputError: ``count`` is less than 1; or as :func:`recursive_dla.attribution_tree`.
        CacheError: The cache lacks activations, or does not fit the model.
        UnsupportedModelError: The model has a part that is not handled.

    Source: paths as in Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", with norms frozen.

    Example:
        >>> paths = strongest_paths(cache, model, " Mary", wrong_answers=" John", count=3, max_nodes=50)
        >>> paths.table["path"][0]
        "L23H3@14 ← L0MLP@10 ← embed ' John'@10"
        >>> bool(abs(paths.explained + paths.weaker + paths.unexplored - paths.total) < 1e-4)
        True
    """
    at_least_one(count)
    tree = attribution_tree(
        cache,
        model,
        answers,
        wrong_answers=wrong_answers,
        pos=pos,
        start=start,
        unit=unit,
        depth=None,
        top_k=top_k,
        min_share=0.0,
        max_nodes=0,
        rule=rule,
        check=check,
    )
    tree.grow(max_nodes, max_seconds=max_seconds, paths=count)
    return Paths.of(paths_of(tree, count))
