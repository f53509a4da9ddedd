"""Attribution graphs in the JSON of circuit-tracer's and Neuronpedia's viewers.

Heads and MLPs take the places that transcoder features have there. The viewers name a node by its layer and its number
``feature``, and drop what has the same one at most positions, so every node has a number of its own. They put labels
into their pages as HTML and would run what stands in them, so ``<`` and ``>`` are written ``‹`` and ``›``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recursive_dla.attribution.labels import token_label
from recursive_dla.errors import InputError
from recursive_dla.graphs.data import GraphData
from recursive_dla.graphs.pruning import node_influence
from recursive_dla.output.files.graph_document import edge_columns, node_columns
from recursive_dla.output.files.strict_json import json_lines, parse_json
from recursive_dla.output.files.whole_files import read_text, write_text

METADATA_FILE = "graph-metadata.json"
_URL = "https://pypi.org/project/recursive-dla/"
# What the viewers know by name; they show the other kinds as they are.
_TYPES = {"embed": "embedding", "head": "attention head", "pos_embed": "position embedding"}
# Both read the probability from behind the first of these in the logit's label.
_PROBABILITY = "(p="
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "\n": "⏎", "\r": "↵", "\t": "→"})


def viewer_files(path: Path) -> tuple[Path, ...]:
    return path, path.with_name(METADATA_FILE)


def write_viewer_json(graph: GraphData, path: Path) -> None:
    """The graph, and beside it the list of the folder's graphs that the local viewer asks for."""
    document = viewer_document(graph, path.name.removesuffix(".json"))
    graphs = _graphs_listed_in(path.with_name(METADATA_FILE))
    listed = [other for other in graphs if other.get("slug") != document["metadata"]["slug"]]
    write_text(path, json_lines(document, "nodes", "links"))
    write_text(path.with_name(METADATA_FILE), json_lines({"graphs": [*listed, document["metadata"]]}, "graphs"))


def check_list(path: Path) -> None:
    """Whether the graph in ``path`` can be added to its folder's list.

    Raises:
        InputError: There is a list, and it is none of a viewer's.
    """
    _graphs_listed_in(path.with_name(METADATA_FILE))


def _graphs_listed_in(path: Path) -> list[dict[str, Any]]:
    """The graphs that a folder's list names already."""
    if not path.is_file():
        return []
    try:
        graphs = parse_json(read_text(path))["graphs"]
    except (OSError, KeyError, TypeError, ValueError):
        graphs = None
    if not isinstance(graphs, list) or not all(isinstance(other, dict) for other in graphs):
        raise InputError(
            f"{str(path)!r} is not a viewer's list of graphs, and this graph would be added to it;"
            " move it away, or choose another folder."
        )
    return graphs


def viewer_document(graph: GraphData, slug: str) -> dict[str, Any]:
    """The graph as the viewers read it.

    Args:
        graph: Any graph.
        slug: The graph's name, which is that of its file.
    """
    meta = graph.metadata
    ids, nodes = _nodes(graph)
    _, _, weights = edge_columns(graph)
    pruning = {} if meta.pruning is None else {"pruning_settings": dict(meta.pruning)}
    name, _, version = meta.generator.partition(" ")
    return {
        "metadata": {
            "slug": slug,
            "scan": meta.model,
            "prompt_tokens": [_plain(token.text) for token in meta.tokens],
            "prompt": _plain(meta.prompt),
            "info": {
                "description": _plain(
                    f"{meta.target.label} at position {meta.target.pos}: {meta.value:+.4f}, rule {meta.rule}"
                ),
                "generator": {"name": name, "version": version, "url": _URL},
            },
            **pruning,
        },
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": nodes,
        "links": [
            {"source": ids[source], "target": ids[target], "weight": weight}
            for source, target, weight in zip(
                graph.edge_source.tolist(), graph.edge_target.tolist(), weights, strict=True
            )
        ],
    }


def _nodes(graph: GraphData) -> tuple[list[str], list[dict[str, Any]]]:
    """The viewers' ids of all nodes, and the nodes."""
    meta, columns = graph.metadata, node_columns(graph)
    shares = influence_shares(graph).tolist()
    ids: list[str] = []
    nodes: list[dict[str, Any]] = []
    taken: set[str] = set()
    for row, (name, kind, layer, pos, attribution) in enumerate(
        zip(*(columns[name] for name in ("id", "kind", "layer", "pos", "attribution")), strict=True)
    ):
        token = meta.tokens[pos]
        more: dict[str, Any] = {}
        level: str | int
        if kind == "embed":
            level, feature, label = "E", _vocabulary(token.token_id), token_label(pos, token.text)
        elif kind == "logit":
            level, feature, label = meta.n_layers + 1, _vocabulary(meta.target.answer_id), _output(graph)
            more = {"is_target_logit": True}
            if meta.target.probability is not None:
                more["token_prob"] = meta.target.probability
        else:
            # A row of the graph is one component at one position: unique.
            level = "E" if kind == "pos_embed" else max(layer, 0)
            feature, label = row, f"{name.rsplit('@', 1)[0]} at {token_label(pos, token.text)}"
        node_id = f"E_pos_{pos}" if kind == "pos_embed" else f"{level}_{feature}_{pos}"
        # Of two embeddings of one token, or two outputs, the later takes a number that no token has.
        ids.append(node_id if node_id not in taken else f"{level}_{-2 - row}_{pos}")
        taken.add(ids[-1])
        nodes.append(
            {
                "node_id": ids[-1],
                # Equal tokens have equal numbers in the vocabulary; their rows tell them apart.
                "feature": row if kind == "embed" else feature,
                "layer": level,
                "ctx_idx": pos,
                "feature_type": _TYPES.get(kind, kind),
                "jsNodeId": ids[-1],
                "clerp": label if kind == "logit" else _unquoted(label),
                "influence": shares[row],
                "activation": attribution,
                **more,
            }
        )
    return ids, nodes


def influence_shares(graph: GraphData) -> np.ndarray:
    """For each node, the share of all influence that it and the more influential nodes have; 0 for the logit.

    A viewer that shows the nodes with at most a share of 0.8 shows the fewest that have 80% of it. Influence is that of
    :meth:`AttributionGraph.influence`.
    """
    is_logit = (graph.nodes["kind"] == "logit").to_numpy()
    influence = np.where(is_logit, 0.0, node_influence(graph).to_numpy())
    order = np.argsort(-influence, kind="stable")
    order = order[~is_logit[order]]
    shares, total = np.zeros(len(influence)), influence.sum()
    if total > 0:
        shares[order] = np.minimum(np.cumsum(influence[order]) / total, 1.0)
    return shares


def _vocabulary(token_id: int | None) -> int:
    return -1 if token_id is None else token_id


def _plain(text: str) -> str:
    return text.translate(_LOOKALIKES)


def _unquoted(label: str) -> str:
    """A label without the quotes by which Neuronpedia finds an output's token."""
    return _plain(label).replace('"', "”").replace("'", "’")


def _output(graph: GraphData) -> str:
    """As the viewers take it apart: the token in the first pair of quotes, the probability behind ``(p=``."""
    target = graph.metadata.target
    words = [target.label] if target.answer is None else [target.answer, target.wrong_answer]
    quoted = [
        '"' + _plain(word).replace('"', "”").replace(_PROBABILITY, "(p＝") + '"' for word in words if word is not None
    ]
    probability = "nan" if target.probability is None else f"{target.probability:.3f}"
    return f"Output {' − '.join(quoted)} {_PROBABILITY}{probability})"
