"""Formats of graph programs, written by networkx: GraphML (Gephi, yEd, Cytoscape), GEXF (Gephi), node-link JSON."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recursive_dla.attribution.labels import token_label
from recursive_dla.graphs.data import GraphData
from recursive_dla.output.files.graph_document import (
    NODE_COLUMNS,
    edge_columns,
    graph_from_columns,
    head_document,
    node_columns,
)
from recursive_dla.output.files.strict_json import parse_json
from recursive_dla.output.files.whole_files import read_bytes, read_text, write_bytes, write_text
from recursive_dla.output.style import THEMES, rgb

if TYPE_CHECKING:
    import networkx as nx

# Of GEXF: the width of a token's column.
_COLUMN = 66.0


def _plain_digraph(graph: GraphData) -> nx.DiGraph:
    """The graph with attributes that are plain numbers and text on one line.

    ``label`` is for people. ``order`` is the place among all edges, since a program that goes from node to node would
    lose it.
    """
    import networkx as nx

    columns = node_columns(graph)
    texts = [token.text for token in graph.metadata.tokens]
    columns["token"] = [token_label(pos, texts[pos]) for pos in columns["pos"]]
    columns["label"] = [f"{node} {token}" for node, token in zip(columns["id"], columns["token"], strict=True)]
    digraph = nx.DiGraph()
    for row in zip(*columns.values(), strict=True):
        attributes = dict(zip(columns, row, strict=True))
        digraph.add_node(
            attributes.pop("id"), **{name: value for name, value in attributes.items() if value is not None}
        )
    for order, (source, target, weight) in enumerate(zip(*edge_columns(graph), strict=True)):
        digraph.add_edge(source, target, id=f"{source}->{target}", weight=weight, order=order)
    return digraph


def _columns_of(
    nodes: list[tuple[str, dict[str, Any]]], edges: list[tuple[str, str, dict[str, Any]]]
) -> tuple[dict[str, list[Any]], list[str], list[str], list[float]]:
    """What :func:`_plain_digraph` was made from."""
    columns = {
        name: [node if name == "id" else attributes.get(name) for node, attributes in nodes] for name in NODE_COLUMNS
    }
    edges = sorted(edges, key=lambda edge: edge[2]["order"])
    return columns, [edge[0] for edge in edges], [edge[1] for edge in edges], [edge[2]["weight"] for edge in edges]


# --- GraphML ---------------------------------------------------------------------------------------------------------


def write_graphml(graph: GraphData, path: Path) -> None:
    import networkx as nx

    digraph = _plain_digraph(graph)
    # In ASCII, with JSON's own escapes: XML cannot hold every character that a token may have.
    digraph.graph["document"] = json.dumps(head_document(graph), allow_nan=False)
    file = io.BytesIO()
    # Not write_graphml, which writes other bytes where lxml is installed.
    nx.write_graphml_xml(digraph, file, named_key_ids=True, edge_id_from_attribute="id")
    write_bytes(path, file.getvalue())


def read_graphml(path: Path) -> GraphData:
    import networkx as nx

    data = read_bytes(path)
    _refuse_document_types(data)
    digraph = nx.read_graphml(io.BytesIO(data))
    if digraph.is_multigraph() or not digraph.is_directed():
        raise ValueError("its edges are not directed, or two have the same source and target")
    head = parse_json(digraph.graph["document"])
    return graph_from_columns(head, *_columns_of(list(digraph.nodes(data=True)), list(digraph.edges(data=True))))


def _refuse_document_types(data: bytes) -> None:
    """A document type can define text that unpacks without end, or is elsewhere; no file of this package has one."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    # Nothing is built from it: networkx parses what has passed.
    parser = DefusedXMLParser(target=object(), forbid_dtd=True)
    try:
        parser.feed(data)
        parser.close()
    except DefusedXmlException:
        raise ValueError("it has a document type, which could define entities") from None


# --- GEXF ------------------------------------------------------------------------------------------------------------


def write_gexf(graph: GraphData, path: Path) -> None:
    """With the places and colours of the figure; ``weight`` is without sign, since it is a thickness there."""
    import networkx as nx

    from recursive_dla.output.places import node_places

    digraph, colors = _plain_digraph(graph), THEMES["light"]
    places = node_places(graph, _COLUMN)
    for row, (_, attributes) in enumerate(digraph.nodes(data=True)):
        attributes["viz"] = {
            "position": {"x": float(places.x[row]), "y": float(places.y[row]), "z": 0.0},
            "size": float(places.size[row]),
            "color": _color(colors.color_of(attributes["attribution"])),
        }
    for *_, attributes in digraph.edges(data=True):
        attributes["contribution"] = attributes["weight"]
        attributes["weight"] = abs(attributes["weight"])
        attributes["viz"] = {"color": _color(colors.color_of(attributes["contribution"]))}
    digraph.graph["name"] = f"{graph.metadata.model}: {graph.metadata.target.label}"
    text = "\n".join(nx.generate_gexf(digraph)) + "\n"
    # The day would make two files of the same graph differ.
    write_text(path, re.sub(r'<meta lastmodifieddate="[^"]*"', "<meta", text, count=1))


def _color(color: str) -> dict[str, int | float]:
    red, green, blue = rgb(color)
    return {"r": red, "g": green, "b": blue, "a": 1.0}


# --- node-link JSON --------------------------------------------------------------------------------------------------


def write_node_link(graph: GraphData, path: Path) -> None:
    import networkx as nx

    digraph = _plain_digraph(graph)
    digraph.graph["document"] = head_document(graph)
    document = nx.node_link_data(digraph, edges="edges")
    write_text(path, json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")


def read_node_link(path: Path) -> GraphData:
    document = parse_json(read_text(path))
    if document["directed"] is not True or document["multigraph"] is not False:
        raise ValueError("its edges are not directed, or may be double")
    nodes = [(node["id"], node) for node in document["nodes"]]
    edges = [(edge["source"], edge["target"], edge) for edge in document["edges"]]
    return graph_from_columns(document["graph"]["document"], *_columns_of(nodes, edges))
