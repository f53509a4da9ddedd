"""The JSON of circuit-tracer's and Neuronpedia's viewers: their schema, and what their code takes for granted."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import networkx as nx
import numpy as np
import pytest
from graphs import graph, hostile

from recursive_dla import AttributionGraph, InputError
from recursive_dla.output.files.circuit_viewers import influence_shares, viewer_document
from recursive_dla.output.saving import check_writable

TEXT, NUMBER = {"type": "string"}, {"type": "number"}


def of(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """The schema of an object."""
    return {"type": "object", "required": list(required), "properties": required | optional}


def list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


GENERATOR = of({}, name=TEXT, version=TEXT, url=TEXT)
SCHEMA = of(
    {
        "metadata": of(
            {"slug": TEXT, "scan": TEXT, "prompt_tokens": list_of(TEXT), "prompt": TEXT},
            node_threshold=NUMBER,
            info=of({}, description=TEXT, generator=GENERATOR, create_time_ms=NUMBER),
            pruning_settings={"type": "object"},
        ),
        "qParams": of(
            {}, pinnedIds=list_of(TEXT), supernodes={"type": "array"}, linkType=TEXT, clickedId=TEXT, sg_pos=TEXT
        ),
        "nodes": list_of(
            of(
                {
                    "node_id": TEXT,
                    "feature": {"type": ["integer", "null"]},
                    "layer": {"type": ["string", "integer"]},
                    "ctx_idx": {"type": "integer"},
                    "feature_type": TEXT,
                    "jsNodeId": TEXT,
                    "clerp": TEXT,
                },
                influence={"type": ["number", "null"]},
                activation={"type": ["number", "null"]},
                token_prob=NUMBER,
                is_target_logit={"type": "boolean"},
            )
        ),
        "links": list_of(of({"source": TEXT, "target": TEXT, "weight": NUMBER})),
    }
)
GRAPHS = {
    "gpt2": graph,
    "llama": lambda: graph("llama-biased"),
    "hostile": hostile,
    "whole": lambda: graph(max_edges=None),
}


def saved(tmp_path: Path, one: AttributionGraph) -> dict[str, Any]:
    return json.loads(one.save(tmp_path / "mary.circuit.json").read_text())


@pytest.mark.parametrize("name", GRAPHS)
def test_the_file_keeps_to_the_viewers_schema(tmp_path: Path, name: str) -> None:
    one = GRAPHS[name]()
    document = saved(tmp_path, one)
    jsonschema.Draft7Validator(SCHEMA).validate(document)
    assert list(document) == ["metadata", "qParams", "nodes", "links"]
    assert document["metadata"]["slug"] == "mary.circuit"
    # Either would make the viewers look features up elsewhere.
    assert not {"schema_version", "feature_details", "transcoder_list"} & document["metadata"].keys()
    assert [link["weight"] for link in document["links"]] == one.edge_weight.tolist()
    assert json.loads((tmp_path / "graph-metadata.json").read_text()) == {"graphs": [document["metadata"]]}


@pytest.mark.parametrize("name", GRAPHS)
def test_nodes_are_told_apart_as_the_viewers_do_it(name: str) -> None:
    one = GRAPHS[name]()
    document = viewer_document(one, "x")
    nodes = document["nodes"]
    for key in ("node_id", "jsNodeId"):
        assert len({node[key] for node in nodes}) == len(nodes)
    # What has the same layer and feature at most positions is dropped, and shares one label in any case.
    assert max(Counter((node["layer"], node["feature"]) for node in nodes).values()) == 1
    ids = {node["node_id"] for node in nodes}
    assert all({link["source"], link["target"]} <= ids for link in document["links"])
    # Quotes are how an output's token is found.
    assert not any(set("\"'") & set(node["clerp"]) for node in nodes if node["feature_type"] != "logit")


def test_tokens_outputs_and_components_have_their_places() -> None:
    meta = graph().metadata
    document = viewer_document(graph(), "x")
    by_row = dict(zip(graph().nodes["id"], document["nodes"], strict=True))
    embedding = by_row["embed@6"]
    assert embedding["node_id"] == f"E_{meta.tokens[6].token_id}_6"
    assert (embedding["layer"], embedding["feature_type"]) == ("E", "embedding")
    logit = by_row["logit@6"]
    assert logit["node_id"] == f"{meta.n_layers + 1}_5_6"
    assert (logit["layer"], logit["feature"], logit["feature_type"]) == (meta.n_layers + 1, 5, "logit")
    assert logit["clerp"] == f'Output "w5" − "w17" (p={meta.target.probability:.3f})'
    assert logit["token_prob"] == meta.target.probability
    assert logit["is_target_logit"] is True
    layers = {
        node["layer"] for node in document["nodes"] if node["feature_type"] not in ("embedding", "position embedding")
    }
    assert all(type(layer) is int and 0 <= layer <= meta.n_layers + 1 for layer in layers)
    head = next(node for row, node in by_row.items() if row.startswith("L1H"))
    assert (head["layer"], head["feature_type"]) == (1, "attention head")
    assert re.fullmatch(r"L1H\d at \d ·?w\d+", head["clerp"])
    assert (
        head["activation"]
        == graph().nodes.set_index("id")["attribution"][f"{head['clerp'].split()[0]}@{head['ctx_idx']}"]
    )


@pytest.mark.parametrize("name", GRAPHS)
def test_the_output_label_is_what_the_viewers_take_apart(name: str) -> None:
    one = GRAPHS[name]()
    (label,) = (node["clerp"] for node in viewer_document(one, "x")["nodes"] if node["feature_type"] == "logit")
    assert re.fullmatch(r'Output "[^"]*"( − "[^"]*")? \(p=[01]\.\d{3}\)', label)
    probability = label.split("(p=")[1].split(")")[0]
    assert float(probability) == pytest.approx(one.metadata.target.probability, abs=5e-4)


def test_what_has_no_probability_says_so() -> None:
    target = replace(graph().metadata.target, label="a probe", answer=None, answer_id=None, probability=None)
    one = replace(graph(), metadata=replace(graph().metadata, target=target))
    (logit,) = (node for node in viewer_document(one, "x")["nodes"] if node["feature_type"] == "logit")
    assert logit["clerp"] == 'Output "a probe" (p=nan)'
    assert "token_prob" not in logit
    assert logit["node_id"] == "4_-1_6"


def test_nothing_in_the_file_is_markup() -> None:
    document = viewer_document(hostile(), "x")
    shown = [node["clerp"] for node in document["nodes"]] + document["metadata"]["prompt_tokens"]
    shown += [document["metadata"]["prompt"], document["metadata"]["info"]["description"]]
    assert not any(set("<>") & set(text) for text in shown)
    assert "‹/script›‹img src=x onerror=alert(1)›" in document["metadata"]["prompt_tokens"]


# --- influence -------------------------------------------------------------------------------------------------------


def influence_by_paths(one: AttributionGraph) -> dict[str, float]:
    """Over every path to the logit, the product of each edge's share of its target's absolute weight."""
    digraph = one.to_networkx()
    total = {node: sum(abs(w) for *_, w in digraph.in_edges(node, data="weight")) for node in digraph}
    (root,) = (node for node, kind in digraph.nodes(data="kind") if kind == "logit")
    found = {root: 0.0}
    for node in reversed(list(nx.topological_sort(digraph))):
        if node != root:
            found[node] = sum(
                (1.0 if target == root else found[target]) * abs(weight) / total[target]
                for _, target, weight in digraph.out_edges(node, data="weight")
            )
    return found


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_influence_is_the_share_of_a_node_and_all_above_it(name: str) -> None:
    one = GRAPHS[name]()
    expected = influence_by_paths(one)
    shares = dict(zip(one.nodes["id"], influence_shares(one).tolist(), strict=True))
    assert shares.pop("logit@6") == 0
    del expected["logit@6"]
    strongest = sorted(expected, key=lambda node: -expected[node])
    running = np.cumsum([expected[node] for node in strongest]) / sum(expected.values())
    assert [shares[node] for node in strongest] == pytest.approx(running.tolist(), rel=1e-9)
    assert max(shares.values()) == pytest.approx(1)


# --- the folder's list -----------------------------------------------------------------------------------------------


def test_a_folder_lists_each_graph_once(tmp_path: Path) -> None:
    for name in ("one", "two", "one"):
        graph().save(tmp_path / f"{name}.circuit.json")
    graphs = json.loads((tmp_path / "graph-metadata.json").read_text())["graphs"]
    assert [listed["slug"] for listed in graphs] == ["two.circuit", "one.circuit"]


@pytest.mark.parametrize("text", ["", "[]", '{"graphs": 3}', '{"graphs": [3]}', "{"])
def test_a_list_of_something_else_is_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "graph-metadata.json").write_text(text)
    for write in (graph().save, check_writable):
        with pytest.raises(InputError, match="is not a viewer's list of graphs"):
            write(tmp_path / "mary.circuit.json")
    assert [path.name for path in tmp_path.iterdir()] == ["graph-metadata.json"]
    assert (tmp_path / "graph-metadata.json").read_text() == text


def test_two_embeddings_of_one_token_stay_two() -> None:
    nodes = graph().nodes.copy()
    nodes.loc[nodes["kind"].isin(["embed", "pos_embed"]), "kind"] = "embed"
    document = viewer_document(replace(graph(), nodes=nodes), "x")
    assert len({node["node_id"] for node in document["nodes"]}) == len(nodes)
