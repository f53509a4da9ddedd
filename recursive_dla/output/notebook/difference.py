"""What changes from one graph to another, in short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recursive_dla.output.notebook.templates import MOST_ROWS, render
from recursive_dla.output.style import subject, unit_of

if TYPE_CHECKING:
    from recursive_dla.graphs.comparison import DifferenceData


def difference_html(difference: DifferenceData) -> str:
    """What changes from one graph to another: the logits, and the components that change most.

    Example:
        >>> mary, john = (attribution_graph(cache, model, answer) for answer in (" Mary", " John"))
        >>> "L23H3 at 14" in difference_html(mary.compare(john))
        True
    """
    a, b = difference.a, difference.b
    unit = unit_of(a.target.answer, b.target.answer)
    return render(
        "difference.html",
        subjects=f"{subject(b.target)} − {subject(a.target)}",
        a=a.value,
        b=b.value,
        difference=difference.value,
        unit=unit,
        facts=f"{len(difference.nodes):,} nodes, {len(difference.edges):,} edges, aligned by {difference.by}",
        strongest=difference.strongest(MOST_ROWS).itertuples(index=False, name=None),
    )
