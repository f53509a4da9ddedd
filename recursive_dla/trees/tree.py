"""Attribution trees: what feeds an answer, what feeds that, path by path, each level adding up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from recursive_dla.attribution.provenance import Provenance
from recursive_dla.errors import InputError
from recursive_dla.trees.vocabulary import Meaning

if TYPE_CHECKING:
    import networkx as nx
    import plotly.graph_objects as go

    from recursive_dla.output.figures.style import ThemeName
    from recursive_dla.trees.paths import Paths

UNITS = ("heads", "layers", "neurons")
# The columns of a tree's nodes.
COLUMNS = (
    *("parent", "depth", "id", "kind", "component", "layer", "head", "pos", "token"),
    *("weight", "share", "expanded", "sources", "largest"),
)
# What reads the residual stream and can be expanded.
INNER = ("logit", "head", "attn", "mlp", "neuron")


@dataclass(frozen=True)
class TreeMetadata(Provenance):
    """Where a tree comes from: its provenance, and how it was made.

    The provenance's ``value`` is also the root's weight, unless the tree starts elsewhere than at the answer.

    Attributes:
        unit: What the nodes are: ``heads``, ``layers`` or ``neurons``.
        rule: How MLPs were made linear.
        top_k: How many sources each node has at most; ``None`` for all.
        min_share: How much of the root's weight a source has at least.
    """

    unit: str
    rule: str
    top_k: int | None
    min_share: float
    generator: str


class TreeNodes(NamedTuple):
    """The nodes of a tree as flat arrays; each names its meaning by its place in ``meanings``."""

    meanings: tuple[Meaning, ...]
    meaning: np.ndarray
    expanded: np.ndarray
    parent: np.ndarray
    depth: np.ndarray
    pos: np.ndarray
    weight: np.ndarray
    sources: np.ndarray
    largest: np.ndarray


@runtime_checkable
class Search(Protocol):
    """What a tree grows by: :class:`recursive_dla.trees.search.TreeSearch`."""

    def grow(self, nodes: int | None, depth: int | None, seconds: float | None, paths: int | None = None) -> str: ...

    def expand(self, nodes: Iterable[int]) -> None: ...

    def nodes(self) -> TreeNodes: ...


class AttributionTree:
    """Paths into one answer, or into one component on the way to it. Made by :func:`recursive_dla.attribution_tree`.

    For every expanded node, Σ children = its weight, to float precision: its strongest sources, its constants (shares
    of biases, and what an MLP rule leaves over), and one child ``rest`` for all other sources together.

    Attributes:
        metadata: Where it comes from.
        ended: Why it stopped growing: ``"complete"`` (all within its limits is there), ``"nodes"``, ``"seconds"`` (the
            budget is spent), ``"interrupted"`` (by Ctrl-C), ``"enough"`` (what was looked for was found), or ``""``
            for one that was read from a file.

    Example:
        >>> tree = attribution_tree(cache, model, " Mary", wrong_answers=" John", start="L23H3@14", depth=1, top_k=2)
        >>> tree.nodes[["id", "token", "weight"]].round(3).values.tolist()[1:3]
        [['L0MLP@10', ' John', 1.929], ['L0MLP@4', ' Mary', -0.212]]
        >>> bool(abs(tree.nodes["weight"][1:].sum() - tree.nodes["weight"][0]) < 1e-5)
        True
    """

    def __init__(self, nodes: TreeNodes | pd.DataFrame, metadata: TreeMetadata, search: Search | None = None) -> None:
        self.metadata = metadata
        self.ended = ""
        self._search = search
        self._nodes = nodes if isinstance(nodes, pd.DataFrame) else None

    @property
    def nodes(self) -> pd.DataFrame:
        """One row for each node, the root first and the children of a node together, the strongest first.

        A node's number is its row, and stays the same as the tree grows. Columns: ``parent`` (a row; -1 for the root)
        and ``depth``; ``id``, ``kind``, ``component``, ``layer``, ``head``, ``pos`` and ``token`` as in a graph's
        nodes, with ``kind`` also ``attn`` (a layer's whole attention), ``neuron`` and ``rest``; ``weight`` in logits,
        positive raises the answer; ``share``, of the root's weight; ``expanded``, whether it has children; ``sources``
        and ``largest``, how many sources the row stands for (1, or more in ``rest``) and the largest absolute weight
        among them. Of a ``rest``, ``layer`` and ``pos`` are -1 and ``token`` is empty.
        """
        if self._nodes is None:
            assert self._search is not None
            self._nodes = _frame(self._search.nodes(), self.metadata)
        return self._nodes

    @property
    def completeness_error(self) -> float:
        """The largest ``|Σ children − weight|`` of the expanded nodes, relative to the largest weight."""
        nodes = self.nodes
        weight, parent = nodes["weight"].to_numpy(), nodes["parent"].to_numpy()
        sums = np.bincount(parent[1:], weights=weight[1:], minlength=len(nodes))
        errors = np.abs(sums - weight)[nodes["expanded"].to_numpy()]
        return float(errors.max(initial=0.0) / max(np.abs(weight).max(), np.finfo(float).tiny))

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

    def _growing(self) -> Search:
        if self._search is None:
            raise InputError(
                "A tree that was read from a file holds no activations to grow by. Make a new one with"
                " attribution_tree(cache, model, ...)."
            )
        return self._search

    # --- looking -------------------------------------------------------------------------------------------------

    def children(self, node: int) -> pd.DataFrame:
        """The rows of a node's children, the strongest first."""
        return self.nodes[self.nodes["parent"] == node]

    def find(self, *path: str) -> int:
        """The row of a node, by the ids on the way to it from below the root: ``find("L23H3@14", "L0MLP@10")``.

        Raises:
            InputError: The tree has no such path.
        """
        nodes, row = self.nodes, 0
        for step in path:
            found = nodes.index[(nodes["parent"] == row) & (nodes["id"] == step)]
            if not len(found):
                raise InputError(f"{nodes['id'][row]!r} has no child {step!r} in this tree.")
            row = int(found[0])
        return row

    def paths(self, count: int | None = 20) -> Paths:
        """The strongest complete paths of this tree, those that end in an embedding or a constant.

        See :func:`recursive_dla.strongest_paths`, which grows a tree for them.

        Raises:
            InputError: ``count`` is less than 1.
        """
        from recursive_dla.trees.paths import paths_of

        return paths_of(self, count)

    def to_networkx(self) -> nx.DiGraph:
        """A ``networkx.DiGraph`` with edges from parents to children; nodes are rows, with the columns as attributes.

        Example:
            >>> import networkx as nx
            >>> nx.is_arborescence(attribution_tree(cache, model, " Mary", depth=2).to_networkx())
            True
        """
        import networkx as nx

        from recursive_dla.output.files.document import provenance_document

        nodes = self.nodes
        digraph = nx.DiGraph(**provenance_document(self.metadata))
        digraph.add_nodes_from(nodes.drop(columns="parent").to_dict("index").items())
        digraph.add_weighted_edges_from(
            zip(nodes["parent"].tolist()[1:], range(1, len(nodes)), nodes["weight"].tolist()[1:], strict=True)
        )
        return digraph

    def save(self, path: str | Path) -> Path:
        """Write the tree to ``path`` as JSON: see :mod:`recursive_dla.output.files.trees`.

        The file appears whole or not at all, and is the same to the byte for the same tree.

        Raises:
            InputError: Another extension than ``.json``, or a path that cannot be written.
        """
        from recursive_dla.output.files.trees import save

        return save(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> AttributionTree:
        """The tree that :meth:`save` wrote. It has all its numbers, but cannot grow.

        Raises:
            InputError: There is no such file, or it does not hold a tree.
        """
        from recursive_dla.output.files.trees import load

        return load(Path(path))

    def figure(self, max_nodes: int = 60, theme: ThemeName = "light") -> go.Figure:
        """The tree as a plotly picture: see :func:`recursive_dla.output.figures.tree_figure`."""
        from recursive_dla.output.figures import tree_figure

        return tree_figure(self, max_nodes=max_nodes, theme=theme)

    def __str__(self) -> str:
        from recursive_dla.output.tree_text import tree_text

        return tree_text(self)

    def __repr__(self) -> str:
        from recursive_dla.output.tree_text import headline

        return headline(self)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from recursive_dla.output.notebook import tree_html

        return tree_html(self)


def _frame(nodes: TreeNodes, metadata: TreeMetadata) -> pd.DataFrame:
    names, kinds, components, layers, heads = (np.array(parts) for parts in zip(*nodes.meanings, strict=True))
    of, pos = nodes.meaning, nodes.pos
    # The last is for a rest, whose position is -1.
    texts = np.array([*(token.text for token in metadata.tokens), ""], dtype=object)
    at = np.array([*(f"@{place}" for place in range(len(texts) - 1)), ""], dtype=object)
    return pd.DataFrame(
        {
            "parent": nodes.parent,
            "depth": nodes.depth,
            "id": names.astype(object)[of] + at[pos],
            "kind": kinds.astype(object)[of],
            "component": components.astype(object)[of],
            "layer": layers[of],
            "head": heads[of],
            "pos": pos,
            "token": texts[pos],
            "weight": nodes.weight,
            "share": nodes.weight / nodes.weight[0] if nodes.weight[0] else np.nan,
            "expanded": nodes.expanded,
            "sources": nodes.sources,
            "largest": nodes.largest,
        }
    )
