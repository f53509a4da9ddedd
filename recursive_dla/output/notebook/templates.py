"""The templates of this folder, which escape all that they are given."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from recursive_dla.attribution.labels import visible_line
from recursive_dla.output.style import signed, signed_percent

if TYPE_CHECKING:
    import jinja2

# Long prompts and large batches are cut, or a notebook's file would grow with each look at them.
MOST_ROWS = 8
LONGEST_TEXT = 24


def render(name: str, **values: Any) -> str:
    """The HTML that a template makes of ``values``."""
    return _templates().get_template(name).render(values)


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    # Without the line ends behind its own tags, a template lays out no white space that would show.
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__ or "", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(signed=signed, signed_percent=signed_percent, visible_line=visible_line)
    return templates
