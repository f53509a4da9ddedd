"""The strongest paths of a tree, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from recursive_dla.output.files.graph_document import provenance_document
from recursive_dla.output.tree_text import paths_text
from recursive_dla.trees.paths import PathsData


@dataclass(frozen=True, eq=False, repr=False)
class Paths(PathsData):
    """The strongest paths of a tree, the strongest first.

    The data is that of :class:`recursive_dla.trees.paths.PathsData`. Made by :func:`recursive_dla.strongest_paths` and
    :meth:`recursive_dla.AttributionTree.paths`.
    """

    @classmethod
    def of(cls, data: PathsData) -> Paths:
        """The same paths with these methods."""
        return cls(*(getattr(data, field.name) for field in fields(data)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: ``metadata``, ``root``, the sums, and ``paths``, the rows of the table."""
        columns = self.table.drop(columns="row").astype(object)
        return {
            "metadata": provenance_document(self.metadata),
            "root": self.tree.nodes["id"][0],
            "total": self.total,
            "explained": self.explained,
            "weaker": self.weaker,
            "unexplored": self.unexplored,
            "strongest_unexplored": self.strongest_unexplored,
            "paths": columns.where(columns.notna(), None).to_dict("records"),
        }

    def __str__(self) -> str:
        return paths_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from recursive_dla.output.notebook import paths_html

        return paths_html(self)
