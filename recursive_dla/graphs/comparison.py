"""The difference of two attribution graphs: of two prompts, two answers, two rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from recursive_dla.attribution.labels import token_label
from recursive_dla.errors import InputError
from recursive_dla.graphs.data import GraphData, GraphMetadata
from recursive_dla.graphs.flow import merge_parallel, totals

Align = Literal["position", "component"] | Mapping[int, int] | None

# What stands for the part of the logit that comes from no leaf which is left.
CUT = "(cut)"
_ROWS = 10


@dataclass(frozen=True, eq=False)
class DifferenceData:
    """What two graphs give each component, and each edge, and what changes from the first to the second.

    Σ ``difference`` over :attr:`leaves` = the second logit − the first.

    Attributes:
        a: Where the first graph comes from.
        b: Where the second does.
        by: ``"position"``, ``"component"`` or ``"mapping"``.
        nodes: One row for each component (at each pair of positions): ``component`` (the name before the ``@`` of a
            node's id), ``kind``, ``leaf``, ``pos_a`` and ``pos_b`` (missing where the prompt has no such position, or
            for sums over positions), ``a`` and ``b`` (attributions, in logits; 0 where a graph lacks the node) and
            ``difference`` = ``b`` − ``a``; the largest absolute differences first.
        edges: The same for edges: ``source``, ``target``, ``source_pos_a``, ``target_pos_a``, ``source_pos_b``,
            ``target_pos_b``, ``a``, ``b``, ``difference``.
    """

    a: GraphMetadata
    b: GraphMetadata
    by: str
    nodes: pd.DataFrame
    edges: pd.DataFrame

    @property
    def value(self) -> float:
        """The second logit − the first."""
        return self.b.value - self.a.value

    @property
    def leaves(self) -> pd.DataFrame:
        """The rows of ``nodes`` that read nothing, and one, ``(cut)``, for what of the logits comes from none of them.

        It is zero, but for rounding, where both graphs are complete.
        """
        leaves = self.nodes[self.nodes["leaf"]]
        a, b = self.a.value - leaves["a"].sum(), self.b.value - leaves["b"].sum()
        cut = {"component": CUT, "kind": "remainder", "leaf": True, "a": a, "b": b, "difference": b - a}
        rest = pd.DataFrame([cut]).reindex(columns=leaves.columns).astype(leaves.dtypes.to_dict())
        return pd.concat([leaves, rest], ignore_index=True)

    def strongest(self, count: int = _ROWS, rows: pd.DataFrame | None = None) -> pd.DataFrame:
        """What changes most: ``name`` (with its token), ``a``, ``b`` and ``difference``.

        Args:
            count: How many at most.
            rows: Of ``nodes``, ``leaves`` or ``edges``; all nodes but the logit by default.
        """
        if rows is None:
            rows = self.nodes[self.nodes["kind"] != "logit"]
        rows = _sorted(rows).head(count)
        if "source" in rows:
            source = map(self._name, rows["source"], rows["source_pos_a"], rows["source_pos_b"])
            target = map(self._name, rows["target"], rows["target_pos_a"], rows["target_pos_b"])
            names = [f"{one} → {other}" for one, other in zip(source, target, strict=True)]
        else:
            names = list(map(self._name, rows["component"], rows["pos_a"], rows["pos_b"]))
        found = rows[["a", "b", "difference"]].reset_index(drop=True)
        found.insert(0, "name", names)
        return found

    def _name(self, component: str, pos_a: Any, pos_b: Any) -> str:
        labels = [
            token_label(int(pos), meta.tokens[int(pos)].text, 24)
            for meta, pos in ((self.a, pos_a), (self.b, pos_b))
            if not pd.isna(pos)
        ]
        if not labels:
            return component
        return f"{component} at {' / '.join(dict.fromkeys(labels))}"


def difference(a: GraphData, b: GraphData, align: Align = None) -> DifferenceData:
    """See :func:`recursive_dla.compare`."""
    _check_models(a.metadata, b.metadata)
    n_a, n_b = len(a.metadata.tokens), len(b.metadata.tokens)
    if align is None:
        align = "position" if n_a == n_b else "component"
    pairs = _pairs(align, n_a, n_b)
    sides = [_table(graph, places) for graph, places in zip((a, b), pairs, strict=True)]
    keys = pd.concat([nodes[["component", "place"]] for nodes, _ in sides]).drop_duplicates(ignore_index=True)
    key_of = pd.Series(keys.index, index=pd.MultiIndex.from_frame(keys))
    nodes = _nodes(keys, [nodes for nodes, _ in sides], key_of)
    edges = _edges([edges for _, edges in sides], [nodes for nodes, _ in sides], key_of)
    positions = _positions(keys["place"].to_numpy(), pairs)
    for place, (name, values) in enumerate(positions.items(), nodes.columns.tolist().index("a")):
        nodes.insert(place, f"pos_{name}", values)
    frame = _sorted(nodes).reset_index(drop=True)
    by = align if isinstance(align, str) else "mapping"
    return DifferenceData(a.metadata, b.metadata, by, frame, _named_edges(edges, keys, positions))


def _check_models(a: GraphMetadata, b: GraphMetadata) -> None:
    sizes = [(meta.n_layers, meta.n_heads) for meta in (a, b)]
    if sizes[0] != sizes[1]:
        shown = " and ".join(
            f"{meta.model} with {layers} layers of {heads} heads"
            for meta, (layers, heads) in zip((a, b), sizes, strict=True)
        )
        raise InputError(f"The graphs' components must be the same to be compared. Got {shown}.")


def _pairs(align: Align, n_a: int, n_b: int) -> tuple[np.ndarray, np.ndarray]:
    """For each position of ``a`` and of ``b`` its place, the same where they correspond."""
    if align == "component":
        return np.zeros(n_a, dtype=int), np.zeros(n_b, dtype=int)
    if align == "position":
        if n_a != n_b:
            raise InputError(
                f"`align='position'` needs prompts of the same length. Got {n_a} and {n_b} tokens; give"
                " align='component', or a mapping of the first's positions to the second's."
            )
        return np.arange(n_a), np.arange(n_b)
    if not isinstance(align, Mapping):
        raise InputError(f"`align` must be 'position', 'component' or a mapping of positions. Got {align!r}.")
    for side, positions, count in (("first", align.keys(), n_a), ("second", align.values(), n_b)):
        if wrong := [pos for pos in positions if not 0 <= pos < count]:
            raise InputError(f"`align` names position {wrong[0]} of the {side} prompt, which has {count} tokens.")
    if len(set(align.values())) < len(align):
        raise InputError("`align` maps two positions to the same one; each may be used once.")
    places_b = n_a + np.arange(n_b)
    for pos_a, pos_b in align.items():
        places_b[pos_b] = pos_a
    return np.arange(n_a), places_b


def _table(graph: GraphData, places: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    nodes = graph.nodes
    table = pd.DataFrame(
        {
            "component": nodes["id"].str.split("@").str[0],
            "kind": nodes["kind"],
            "leaf": graph.is_leaf,
            "place": places[nodes["pos"]],
            "value": nodes["attribution"].astype(np.float64),
        }
    )
    edges = pd.DataFrame(
        {"source": graph.edge_source, "target": graph.edge_target, "value": graph.edge_weight.astype(np.float64)}
    )
    return table, edges


def _nodes(keys: pd.DataFrame, sides: list[pd.DataFrame], key_of: pd.Series[int]) -> pd.DataFrame:
    first = pd.concat(sides).drop_duplicates("component").set_index("component")
    nodes = pd.DataFrame({"component": keys["component"]})
    for name in ("kind", "leaf"):
        nodes[name] = first[name].reindex(keys["component"]).to_numpy()
    for name, side in zip("ab", sides, strict=True):
        rows = _rows(side, key_of)
        nodes[name] = totals(rows, side["value"].to_numpy(), len(keys))
    nodes["difference"] = nodes["b"] - nodes["a"]
    return nodes


def _edges(edges: list[pd.DataFrame], nodes: list[pd.DataFrame], key_of: pd.Series[int]) -> pd.DataFrame:
    rows = [_rows(side, key_of).astype(np.int32) for side in nodes]
    source, target = (
        np.concatenate([of[side[end]] for of, side in zip(rows, edges, strict=True)]) for end in ("source", "target")
    )
    a, b = (side["value"].to_numpy() for side in edges)
    weights = np.concatenate([a, np.zeros(len(b))]), np.concatenate([np.zeros(len(a)), b])
    source, target, (a, b) = merge_parallel(source, target, len(key_of), *weights)
    return _sorted(pd.DataFrame({"source": source, "target": target, "a": a, "b": b, "difference": b - a}))


def _rows(side: pd.DataFrame, key_of: pd.Series[int]) -> np.ndarray:
    return key_of.loc[pd.MultiIndex.from_frame(side[["component", "place"]])].to_numpy()


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[np.argsort(-np.abs(frame["difference"].to_numpy()), kind="stable")]


def _positions(places: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> dict[str, pd.Series[int]]:
    """For each place the positions in ``a`` and in ``b``, where there is one."""
    found = {}
    for name, of in zip("ab", pairs, strict=True):
        by_place = pd.Series(np.arange(len(of)), index=of)
        unique = not by_place.index.has_duplicates
        values = by_place.reindex(places) if unique else pd.Series(np.nan, index=places)
        found[name] = pd.Series(values.to_numpy(), dtype="Int64")
    return found


def _named_edges(edges: pd.DataFrame, keys: pd.DataFrame, positions: dict[str, pd.Series[int]]) -> pd.DataFrame:
    code, names = pd.factorize(keys["component"])
    source, target = edges["source"].to_numpy(), edges["target"].to_numpy()
    # There may be millions of edges; categories keep each name once.
    named = pd.DataFrame(
        {name: pd.Categorical.from_codes(code[of], names) for name, of in (("source", source), ("target", target))}
    )
    for side, of in positions.items():
        named[f"source_pos_{side}"] = of.take(source).array
        named[f"target_pos_{side}"] = of.take(target).array
    return pd.concat([named, edges[["a", "b", "difference"]].reset_index(drop=True)], axis=1)
