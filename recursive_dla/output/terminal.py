"""Reports in a terminal: their lines, their tables, and numbers in colour."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from recursive_dla.attribution.labels import visible_line

_WIDTH_OF_NAMES = 12


def report_line(name: str, *parts: str | Text | tuple[str, str]) -> Text:
    """A line of a report behind its name; parts are texts, made visible, or pairs of one and its style.

    A ``Text`` is taken as it is.
    """
    return Text.assemble((name.ljust(_WIDTH_OF_NAMES), "dim"), *map(_part, parts))


def _part(part: str | Text | tuple[str, str]) -> Text:
    if isinstance(part, Text):
        return part
    text, style = part if isinstance(part, tuple) else (part, "")
    return shown(text, style)


def shown(text: str, style: str = "") -> Text:
    """Text from a file or a model, on one line: nothing in it is markup, and none of it tells the terminal anything."""
    return Text(visible_line(text), style=style)


def table_of_numbers(title: str, *numbers: str) -> Table:
    """A table without lines, to which rows are added: a name, then a column of numbers for each of ``numbers``."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    table.add_column("", style="bold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def colored(value: float) -> Text:
    """A number with its sign: blue raises the answer, red lowers it."""
    return Text(f"{value:+.3f}", style="blue" if value >= 0 else "red")
