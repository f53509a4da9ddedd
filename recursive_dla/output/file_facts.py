"""What a saved graph is, in a few facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recursive_dla.graphs.data import GraphData
from recursive_dla.output.files.graph_document import metadata_document
from recursive_dla.output.files.schema import VERSION
from recursive_dla.output.saving import format_of, load


def file_info(path: Path) -> dict[str, Any]:
    """The facts of the graph in a file, as plain JSON types.

    Returns:
        ``file``, ``format``, ``bytes``, ``version``, ``dtype``; ``metadata`` as in a document; ``nodes``, of each kind;
        ``edges``; ``imbalance``: see :func:`imbalance`.

    Raises:
        InputError: The file holds no graph.
    """
    chosen, graph = format_of(path), load(path)
    kinds = graph.nodes["kind"].value_counts(sort=False)
    return {
        "file": str(path),
        "format": chosen.endings[0],
        "bytes": sum(file.stat().st_size for file in chosen.files(path)),
        "version": VERSION,
        "dtype": str(graph.edge_weight.dtype),
        "metadata": metadata_document(graph.metadata),
        "nodes": {str(kind): int(count) for kind, count in kinds.items()},
        "edges": len(graph.edge_weight),
        "imbalance": imbalance(graph),
    }


def imbalance(graph: GraphData) -> float:
    """By how much the numbers of a node fail to add up, at most, relative to what is explained.

    Σ in-edges + ``rest_in`` and Σ out-edges + ``rest_out`` both equal a node's attribution; a leaf has nothing in front
    of it, and the logit nothing behind.
    """
    nodes, n_nodes = graph.nodes, len(graph.nodes)
    attribution = nodes["attribution"].to_numpy(dtype=np.float64)
    worst = 0.0
    for ends, rest, is_end in (
        (graph.edge_target, "rest_in", graph.is_leaf),
        (graph.edge_source, "rest_out", (nodes["kind"] == "logit").to_numpy()),
    ):
        flow = np.bincount(ends, graph.edge_weight.astype(np.float64), n_nodes) + nodes[rest].to_numpy()
        gap = np.abs(flow - attribution)[~is_end]
        worst = max(worst, float(gap.max(initial=0)))
    return worst / max(abs(graph.metadata.value), 1e-12)
