"""The attribution graph of an answer, all paths at once: made, pruned, grouped, compared, drawn and saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from recursive_dla.attribution.mlp_rules import DEFAULT_RULE
from recursive_dla.attribution.targets import Answers, Positions, Target, as_single_target, as_target
from recursive_dla.cache.activation_cache import as_cache
from recursive_dla.comparison import GraphDifference, compare
from recursive_dla.errors import InputError
from recursive_dla.graphs import grouping, pruning
from recursive_dla.graphs.comparison import Align
from recursive_dla.graphs.construction import build_graphs
from recursive_dla.graphs.data import GraphData
from recursive_dla.graphs.memory_budget import MEMORY_BUDGET, GraphLimits
from recursive_dla.output.summary_text import graph_text

if TYPE_CHECKING:
    import networkx as nx
    import plotly.graph_objects as go

    from recursive_dla.cache.slices import SliceInput
    from recursive_dla.output.style import ThemeName


@dataclass(frozen=True, eq=False, repr=False)
class AttributionGraph(GraphData):
    """A flow network from embeddings and biases, through heads and MLPs, to one logit: data and what is done with it.

    The data (``nodes``, ``edges``, ``metadata``) and the sums that hold are those of
    :class:`recursive_dla.graphs.data.GraphData`. Made by :func:`recursive_dla.attribution_graph`.

    Example:
        >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John").prune(max_edges=500)
        >>> graph.edges.sort_values("weight").iloc[-1].tolist()[:2]
        ['embed@4', 'L0MLP@4']
    """

    @classmethod
    def of(cls, data: GraphData) -> AttributionGraph:
        """The same graph with these methods."""
        return cls(*(getattr(data, field.name) for field in fields(data)))

    def influence(self) -> pd.Series[float]:
        """What share of the logit each node has over all paths, by absolute weight; indexed by the nodes' ids.

        A node's in-edges share it in proportion to ``|weight|``, a path has the product of its edges' shares, and a
        node the sum over all paths from it to the logit. The logit has 1; in a complete graph the leaves sum to 1.

        Source: Ameisen et al. 2025, "Circuit Tracing", appendix on graph pruning.

        Example:
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
            >>> influence = graph.influence()
            >>> round(float(influence[graph.is_leaf].sum()), 6)
            1.0
        """
        return pruning.node_influence(self)

    def prune(
        self,
        *,
        max_edges: int | None = None,
        min_share: float | None = None,
        node_influence: float | None = None,
        edge_influence: float | None = None,
    ) -> AttributionGraph:
        """The strongest edges, and the nodes from which the logit is still reached over them.

        What is cut stays in the nodes' ``rest_in`` and ``rest_out``, so the sums of the kept nodes still hold. How much
        of the logit and of the influence is left is in ``metadata.pruning`` (see
        :func:`recursive_dla.graphs.pruning.keep`) and printed with the graph. The steps go in this order:

        Args:
            node_influence: Keep the nodes that hold this share of all nodes' influence (0.8 is usual), the strongest
                first, and all token embeddings. Nodes left without in-edges or without out-edges go.
            edge_influence: Keep the edges that hold this share of all that are left (0.98 is usual); an edge's
                influence is its share of its target's times that of the target, among what is left. Nodes left without
                in-edges or without out-edges go.
            min_share: Keep edges with at least this share of the logit, ``|weight| ≥ min_share · |value|``.
            max_edges: Keep at most this many, by absolute weight.

        Raises:
            InputError: None is given, or one is out of range.

        Source: influence as in Ameisen et al. 2025, "Circuit Tracing", and circuit-tracer's ``prune_graph``, with two
        differences: there is one logit, and embeddings that are left without edges go too.

        Example:
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
            >>> small = graph.prune(node_influence=0.8, edge_influence=0.98)
            >>> len(small.nodes) < len(graph.nodes), small.metadata.pruning["influence_kept"] > 0.1
            (True, True)
        """
        return pruning.prune(
            self,
            max_edges=max_edges,
            min_share=min_share,
            node_influence=node_influence,
            edge_influence=edge_influence,
        )

    def select(
        self,
        *,
        kinds: pruning.Names | None = None,
        layers: pruning.Layers | None = None,
        positions: SliceInput = None,
        ids: pruning.Names | None = None,
    ) -> AttributionGraph:
        """The nodes that fit all that is given, and the logit; with the edges between them.

        What is cut stays in ``rest_in`` and ``rest_out``. Nodes that no longer lead to the logit stay;
        ``.prune(min_share=0)`` takes them out.

        Args:
            kinds: One kind or several, as in ``nodes``.
            layers: One layer or several, such as ``range(20, 30)``; embeddings are at -1.
            positions: As any slice of the package: an int, a slice, a list; negative from the end.
            ids: Ids such as ``"L23H3@14"``, or names such as ``"L23H3"`` for all positions.

        Raises:
            InputError: Nothing is given, or something that the graph does not have.

        Example:
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
            >>> sorted(graph.select(kinds=["embed", "head"], layers=[-1, 0], positions=-1).nodes["id"])[:2]
            ['L0H0@14', 'L0H1@14']
        """
        return pruning.select(self, pruning.Selection(kinds, layers, positions, ids))

    def drop(
        self,
        *,
        kinds: pruning.Names | None = None,
        layers: pruning.Layers | None = None,
        positions: SliceInput = None,
        ids: pruning.Names | None = None,
    ) -> AttributionGraph:
        """All but the nodes that fit all that is given; the logit always stays. Arguments are those of :meth:`select`.

        Example:
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
            >>> small = graph.drop(positions=0).drop(ids="L0MLP")
            >>> int(small.nodes["pos"].min()), "L0MLP@4" in set(small.nodes["id"])
            (1, False)
        """
        return pruning.drop(self, pruning.Selection(kinds, layers, positions, ids))

    def group(self, by: grouping.GroupBy) -> AttributionGraph:
        """Nodes merged into groups: edges between groups are summed, and edges inside one are left out.

        A group's attribution is what flows through it, so its sums hold as those of any node: Σ in-edges from outside
        + ``rest_in`` = attribution = Σ out-edges to outside + ``rest_out``. That is Σ members' attributions less what
        flows from member to member. Its ``kind`` is ``group``, its ``pos`` and ``layer`` those of its last member, and
        ``metadata.groups`` has the members.

        Args:
            by: ``"layer"``: all heads of a layer at a position become ``L5.heads@14``. ``"word"``: the tokens of a word
                become one, each component by itself: ``L5H2@3-4``. ``"position"``: all heads and MLPs at a position
                become ``inner@14``, its biases and remainders ``constants@14``. Or groups by hand: a mapping of names
                to ids (or to names for all positions, as in :meth:`select`), or a function of a row of ``nodes`` that
                returns a name or ``None``.

        Raises:
            InputError: A group that mixes leaves with nodes that read, one that holds the logit, groups that overlap or
                share a name with a node, or groups that would make the graph go in a circle, as heads of two layers do
                where something between them reads the one and is read by the other. Sums over paths would mean nothing
                then; ``select`` what matters first, or take what lies between into the group.

        Example:
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John")
            >>> movers = graph.group({"name movers": ["L23H1@14", "L23H3@14"]})
            >>> [member.id for member in movers.metadata.groups["name movers"]]
            ['L23H1@14', 'L23H3@14']
        """
        return grouping.group(self, by)

    def compare(self, other: AttributionGraph, *, align: Align = None) -> GraphDifference:
        """What changes from this graph to another: see :func:`recursive_dla.compare`."""
        return compare(self, other, align=align)

    def to_networkx(self) -> nx.DiGraph:
        """A ``networkx.DiGraph`` with the columns of ``nodes`` and ``edges`` as attributes, and the metadata on the
        graph.

        Example:
            >>> import networkx as nx
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John").prune(max_edges=500)
            >>> nx.is_directed_acyclic_graph(graph.to_networkx())
            True
        """
        import networkx as nx

        from recursive_dla.output.files.graph_document import metadata_document

        digraph = nx.DiGraph(**metadata_document(self.metadata))
        attributes = self.nodes.drop(columns="id").to_dict("index")
        digraph.add_nodes_from(zip(self.nodes["id"], attributes.values(), strict=True))
        ids = self.nodes["id"].to_numpy()
        digraph.add_weighted_edges_from(
            zip(ids[self.edge_source], ids[self.edge_target], self.edge_weight.tolist(), strict=True)
        )
        return digraph

    def save(self, path: str | Path) -> Path:
        """Write the graph to ``path``, in the format its extension names.

        ``.json`` and ``.json.gz`` are the package's own, ``.html`` a page to explore; ``.csv``, ``.parquet``,
        ``.graphml``, ``.gexf``, ``.node-link.json``, ``.dot``, ``.mmd``, ``.svg``, ``.png`` and ``.circuit.json`` are
        for other programs: see :mod:`recursive_dla.output.saving`. A file appears whole or not at all, and is the same
        to the byte for the same graph.

        Raises:
            InputError: An unknown extension, one whose format needs a package that is not installed, a path that cannot
                be written, or a graph too large for a page.

        Example:
            >>> import tempfile
            >>> graph = attribution_graph(cache, model, " Mary", wrong_answers=" John").prune(max_edges=50)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = graph.save(f"{folder}/mary.graphml")
            ...     AttributionGraph.load(path).edges.equals(graph.edges)
            True
        """
        from recursive_dla.output.saving import save

        return save(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> AttributionGraph:
        """The graph that :meth:`save` wrote: any of ``.json``, ``.json.gz``, ``.html``, ``.csv``, ``.parquet``,
        ``.graphml`` and ``.node-link.json``, without loss.

        Loading runs no code, and checks all that it reads.

        Raises:
            InputError: There is no such file, it does not hold a graph, or its format cannot be read back.
        """
        from recursive_dla.output.saving import load

        return AttributionGraph.of(load(Path(path)))

    def figure(self, max_edges: int = 150, theme: ThemeName = "light") -> go.Figure:
        """The graph as a plotly picture, layer over token; of large graphs the strongest edges.

        See :func:`recursive_dla.figures.graph_figure`, and :mod:`recursive_dla.figures` for others.
        """
        from recursive_dla.output.figures.network import graph_figure

        return graph_figure(self, max_edges=max_edges, theme=theme)

    def __str__(self) -> str:
        return graph_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from recursive_dla.output.notebook import graph_html

        return graph_html(self)


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
    limits = GraphLimits(max_edges, min_share, memory_budget)
    return AttributionGraph.of(build_graphs(cache, target, rule, limits, check)[0])


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
    limits = GraphLimits(max_edges, min_share, memory_budget)
    return [AttributionGraph.of(graph) for graph in build_graphs(cache, target, rule, limits, check)]


def _one_each(answers: Any, n_prompts: int, argument: str) -> Any:
    """A list of one answer per prompt in the form of targets: ``[batch, token]``."""
    if answers is None or isinstance(answers, (str, int, Target)):
        return answers
    if len(answers) != n_prompts:
        raise InputError(f"`{argument}` must have one answer for each of {n_prompts} prompts. Got {len(answers)}.")
    return [[answer] for answer in answers]
