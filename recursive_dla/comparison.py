"""What changes from one attribution graph to another, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass

from recursive_dla.graphs.comparison import Align, DifferenceData, difference
from recursive_dla.graphs.data import GraphData
from recursive_dla.output.summary_text import difference_text


@dataclass(frozen=True, eq=False, repr=False)
class GraphDifference(DifferenceData):
    """What two graphs give each component, and each edge, and what changes from the first to the second.

    The data is that of :class:`recursive_dla.graphs.comparison.DifferenceData`. Made by :func:`recursive_dla.compare`.
    """

    def __str__(self) -> str:
        return difference_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from recursive_dla.output.notebook import difference_html

        return difference_html(self)


def compare(a: GraphData, b: GraphData, *, align: Align = None) -> GraphDifference:
    """What changes from one graph to another, component by component and edge by edge.

    Args:
        a: The first graph.
        b: The second, of the same model: another prompt, answer or rule.
        align: Which nodes are the same. ``"position"``: those of the same id; for prompts of the same length.
            ``"component"``: those of the same component; attributions and edges are summed over positions. A mapping of
            positions of ``a`` to positions of ``b``: those of the same component at positions that correspond; the
            others stand alone. By default ``"position"`` where the prompts have the same length, else
            ``"component"``.

    Returns:
        Both graphs' numbers side by side; Σ over leaves of the differences = ``b``'s logit − ``a``'s.

    Raises:
        InputError: Graphs of models of different sizes, prompts of different lengths with ``"position"``, or a mapping
            that does not fit.

    Example:
        >>> mary = attribution_graph(cache, model, " Mary")
        >>> john = attribution_graph(cache, model, " John")
        >>> change = compare(john, mary)
        >>> round(change.value, 3), round(float(change.leaves["difference"].sum()), 3)
        (5.576, 5.576)
        >>> change.nodes.columns.tolist()
        ['component', 'kind', 'leaf', 'pos_a', 'pos_b', 'a', 'b', 'difference']
    """
    found = difference(a, b, align)
    return GraphDifference(found.a, found.b, found.by, found.nodes, found.edges)
