"""A breakdown's summary."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from recursive_dla.attribution.labels import token_label
from recursive_dla.output.notebook.templates import LONGEST_TEXT, MOST_ROWS, render
from recursive_dla.output.style import signed, unit_of

if TYPE_CHECKING:
    from recursive_dla.attribution.breakdown_data import BreakdownData

_MOST_TABLES = 4


class _Part(NamedTuple):
    """One answer to one prompt: how much there is of it, and its strongest components with their sources."""

    prompt: int
    answer: str
    value: float
    strongest: list[tuple[str, float, str]]


def breakdown_html(breakdown: BreakdownData) -> str:
    """A breakdown's summary: its axes, and for each prompt and answer the strongest components with their sources.

    Example:
        >>> "L23H3" in breakdown_html(break_down(cache, model, " Mary", wrong_answers=" John"))
        True
    """
    unit = unit_of(breakdown.target.answers)
    n_tokens, n_prompts = breakdown.totals.shape[:2]
    places = itertools.islice(itertools.product(range(n_prompts), range(n_tokens)), _MOST_TABLES)
    return render(
        "breakdown.html",
        axes=" ".join(f"{name}={len(labels)}" for name, labels in breakdown.axes.items()),
        completeness_error=breakdown.completeness_error,
        unit=unit,
        parts=[
            _Part(
                prompt,
                breakdown.axes["token"][token],
                float(breakdown.target.value[prompt, token]),
                _strongest(breakdown, token, prompt),
            )
            for prompt, token in places
        ],
        left=n_tokens * n_prompts - _MOST_TABLES,
    )


def _strongest(breakdown: BreakdownData, token: int, prompt: int) -> list[tuple[str, float, str]]:
    texts = breakdown.tokens_of(prompt)
    rows = []
    for found in breakdown.strongest(token, prompt, count=MOST_ROWS):
        parts = []
        for labels, part in found.sources:
            named = " ".join(label for axis, label in labels.items() if axis != "src_pos")
            if "src_pos" in labels:
                pos = int(labels["src_pos"])
                named += f" at {token_label(pos, texts[pos], LONGEST_TEXT)}"
            parts.append(f"{signed(part)} {named}")
        rows.append((found.label, found.total, "; ".join(parts)))
    return rows
