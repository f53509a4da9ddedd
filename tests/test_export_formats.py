"""Formats of other programs: what those programs read is the graph, and what can be read back is all of it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from graphs import HOSTILE, graph, hostile
from test_export import assert_same

from recursive_dla import AttributionGraph, InputError
from recursive_dla.output.files import tables, whole_files
from recursive_dla.output.files.strict_json import parse_json
from recursive_dla.output.saving import FORMATS, check_readable, check_writable

READABLE = [file_format.endings[0] for file_format in FORMATS if file_format.read is not None]
PICTURES = (".svg", ".png")
WRITTEN = [ending for file_format in FORMATS for ending in file_format.endings if ending not in PICTURES]
GRAPHS = {
    "float64": lambda: graph(),
    "float32": lambda: graph(dtype=torch.float32),
    "whole": lambda: graph(max_edges=None),
    "one edge": lambda: graph(max_edges=1),
    "direction": lambda: replace(
        graph(),
        metadata=replace(graph().metadata, target=replace(graph().metadata.target, answer=None, answer_id=None)),
    ),
    "groups": lambda: graph(max_edges=None).group("layer"),
    "hostile": hostile,
}


@pytest.mark.parametrize("ending", READABLE)
def test_a_graph_of_more_edges_than_32_bits_count_is_read_back(tmp_path: Path, ending: str) -> None:
    """As of 345 tokens of a small model, before it was pruned."""
    pruning = {**graph().metadata.pruning, "nodes_before": 2**31, "edges_before": 2**53 - 1}
    one = replace(graph(), metadata=replace(graph().metadata, pruning=pruning))
    assert AttributionGraph.load(one.save(tmp_path / f"large{ending}")).metadata == one.metadata


@pytest.mark.parametrize(
    "pruning", [{"logit_kept": 10**400}, {"logit_kept": -(10**400)}, {"edges_before": 2**53}, {"influence_kept": 1.5}]
)
def test_numbers_that_no_graph_has_are_refused(tmp_path: Path, pruning: dict[str, Any]) -> None:
    path = graph().save(tmp_path / "graph.json")
    document = json.loads(path.read_text())
    document["metadata"]["pruning"] |= pruning
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=next(iter(pruning))):
        AttributionGraph.load(path)


@pytest.mark.parametrize("size", ["n_layers", "n_heads"])
def test_a_model_larger_than_any_is_refused(tmp_path: Path, size: str) -> None:
    path = graph().save(tmp_path / "graph.json")
    document = json.loads(path.read_text())
    document["metadata"][size] = 2**31 - 1
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=size):
        AttributionGraph.load(path)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("ending", READABLE)
def test_what_is_read_back_is_all_of_it(tmp_path: Path, ending: str, name: str) -> None:
    saved = GRAPHS[name]()
    saved.save(tmp_path / f"graph{ending}")
    loaded = AttributionGraph.load(tmp_path / f"graph{ending}")
    assert_same(loaded, saved)
    assert loaded.save(tmp_path / "again.json").read_bytes() == saved.save(tmp_path / "first.json").read_bytes()


@pytest.mark.parametrize("ending", WRITTEN)
def test_the_same_graph_gives_the_same_bytes(tmp_path: Path, ending: str) -> None:
    texts = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / f"graph{ending}"
        hostile().save(path)
        texts.append([file.read_bytes() for file in check_writable(path).files(path)])
    assert texts[0] == texts[1]
    assert all(texts[0])


@pytest.mark.parametrize("ending", WRITTEN)
def test_only_the_named_files_are_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"graph{ending.upper()}"
    files = check_writable(path).files(path)
    graph().save(path)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_half_of_a_character_is_no_hindrance(tmp_path: Path) -> None:
    """Half of a surrogate pair, which UTF-8 cannot hold."""
    broken = replace(graph(), metadata=replace(graph().metadata, model="a\ud800b"))
    for ending in WRITTEN:
        path = broken.save(tmp_path / f"graph{ending}")
        if ending in READABLE:
            assert_same(AttributionGraph.load(path), broken)


def test_a_group_whose_name_no_file_could_hold_is_refused(tmp_path: Path) -> None:
    named = graph().group({"two\nlines": graph().nodes.loc[graph().nodes["kind"] == "head", "id"].head(2).tolist()})
    with pytest.raises(InputError, match=r"cannot be in the id of a node. Got 'two\\nlines'"):
        named.save(tmp_path / "graph.json")


# --- packed JSON -----------------------------------------------------------------------------------------------------


def test_packed_json_is_the_json(tmp_path: Path) -> None:
    packed = graph().save(tmp_path / "graph.json.gz").read_bytes()
    assert gzip.decompress(packed) == graph().save(tmp_path / "graph.json").read_bytes()
    # Neither a time nor a name in its header.
    assert packed[3:8] == bytes(5)


def test_what_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    bomb = zlib.compressobj(9, wbits=31)
    block = b" " * (1 << 20)
    data = b"".join(bomb.compress(block) for _ in range(64)) + bomb.flush()
    assert len(data) < 100_000
    (tmp_path / "bomb.json.gz").write_bytes(data)
    with pytest.raises(InputError, match="unpack to more than 2"):
        AttributionGraph.load(tmp_path / "bomb.json.gz")


def test_what_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = graph().save(tmp_path / "graph.json.gz")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="not whole gzip data"):
        AttributionGraph.load(path)
    path.write_bytes(b"{}")
    with pytest.raises(InputError, match="not whole gzip data"):
        AttributionGraph.load(path)


def test_a_file_beyond_all_bounds_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = graph().save(tmp_path / "graph.json")
    monkeypatch.setattr(whole_files, "MAX_BYTES", 999)
    with pytest.raises(InputError, match="bytes, and at most 999 are read"):
        AttributionGraph.load(path)


# --- graph programs --------------------------------------------------------------------------------------------------


def assert_network(digraph: nx.DiGraph, one: AttributionGraph, weight: str = "weight") -> None:
    """``digraph`` has the nodes and edges of ``one``."""
    assert type(digraph) is nx.DiGraph
    assert list(digraph) == one.nodes["id"].tolist()
    for name in ("kind", "component", "layer", "pos", "attribution", "rest_in", "rest_out"):
        assert [digraph.nodes[node][name] for node in digraph] == pytest.approx(one.nodes[name].tolist(), abs=0)
    found = {(a, b): attributes[weight] for a, b, attributes in digraph.edges(data=True)}
    ids = one.nodes["id"].to_numpy()
    ends = zip(ids[one.edge_source].tolist(), ids[one.edge_target].tolist(), strict=True)
    assert found == dict(zip(ends, one.edge_weight.tolist(), strict=True))


@pytest.mark.parametrize("which", [graph, hostile])
def test_networkx_reads_graphml(tmp_path: Path, which: object) -> None:
    digraph = nx.read_graphml(which().save(tmp_path / "graph.graphml"))
    assert_network(digraph, which())
    assert json.loads(digraph.graph["document"])["metadata"]["n_layers"] == 3
    assert {attributes["id"] for *_, attributes in digraph.edges(data=True)} == {f"{a}->{b}" for a, b in digraph.edges}


@pytest.mark.parametrize("which", [graph, hostile])
def test_networkx_reads_gexf(tmp_path: Path, which: object) -> None:
    path = which().save(tmp_path / "graph.gexf")
    digraph = nx.read_gexf(path)
    assert_network(digraph, which(), weight="contribution")
    # Gephi takes weights for thicknesses.
    assert min(weight for *_, weight in digraph.edges(data="weight")) > 0
    assert b"lastmodifieddate" not in path.read_bytes()
    places = [
        (float(node.attrib["x"]), float(node.attrib["y"]))
        for node in ElementTree.parse(path).iter("{http://www.gexf.net/1.2draft/viz}position")
    ]
    assert len(set(places)) == len(which().nodes)


def test_networkx_reads_node_link_json(tmp_path: Path) -> None:
    document = json.loads(graph().save(tmp_path / "graph.node-link.json").read_text())
    digraph = nx.node_link_graph(document, edges="edges")
    assert_network(digraph, graph())
    assert digraph.graph["document"]["metadata"]["rule"] == graph().metadata.rule


def test_the_order_of_edges_survives_programs_that_go_from_node_to_node(tmp_path: Path) -> None:
    """Where it does not matter to a program, it still decides which of equal edges pruning keeps."""
    order = np.random.default_rng(3).permutation(len(graph().edge_weight))
    mixed = replace(
        graph(),
        edge_source=graph().edge_source[order],
        edge_target=graph().edge_target[order],
        edge_weight=graph().edge_weight[order],
    )
    for ending in (".graphml", ".node-link.json"):
        assert_same(AttributionGraph.load(mixed.save(tmp_path / f"graph{ending}")), mixed)


BOMB = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "declared",
    [
        f'graphml [<!ENTITY e0 "ha">{BOMB}]',
        'graphml [<!ENTITY e12 "one">]',
        'graphml [<!ENTITY e12 SYSTEM "file:///etc/passwd">]',
        'graphml [<!ENTITY % e12 SYSTEM "file:///etc/passwd"> %e12;]',
        'graphml SYSTEM "http://localhost/graphml.dtd"',
        "graphml",
    ],
    ids=["bomb", "entity", "external", "parameter", "elsewhere", "empty"],
)
def test_document_types_are_refused(tmp_path: Path, declared: str, encoding: str) -> None:
    """Whether they are used or not."""
    path = graph().save(tmp_path / "graph.graphml")
    whole = path.read_text().replace("encoding='utf-8'", f"encoding='{encoding}'")
    path.write_text(whole, encoding=encoding)
    assert_same(AttributionGraph.load(path), graph())
    for use in (">&e12;<", ">head<"):
        path.write_text(
            whole.replace("<graphml", f"<!DOCTYPE {declared}><graphml", 1).replace(">head<", use, 1), encoding=encoding
        )
        with pytest.raises(InputError, match="has a document type, which could define entities"):
            AttributionGraph.load(path)


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [graph, hostile])
def test_pandas_reads_csv(tmp_path: Path, which: object) -> None:
    which().save(tmp_path / "graph.csv")
    nodes, edges = (pd.read_csv(tmp_path / f"graph.{table}.csv") for table in ("nodes", "edges"))
    for name in ("id", "kind", "component", "layer", "pos", "attribution", "rest_in", "rest_out"):
        assert nodes[name].tolist() == which().nodes[name].tolist()
    assert nodes["head"].fillna(-1).tolist() == which().nodes["head"].tolist()
    assert edges["source"].tolist() == which().edges["source"].tolist()
    assert edges["target"].tolist() == which().edges["target"].tolist()
    assert edges["weight"].tolist() == which().edge_weight.tolist()
    lines = (tmp_path / "graph.nodes.csv").read_text().splitlines()
    assert len(lines) == len(nodes) + 1
    assert not any(cell.startswith(("=", "+", "@")) for line in lines for cell in line.split(","))


def test_a_spreadsheet_takes_no_name_for_a_formula(tmp_path: Path) -> None:
    nodes = graph().nodes.copy()
    nodes.loc[0, ["id", "component"]] = ["=cmd@0", "'quoted"]
    named = replace(graph(), nodes=nodes)
    named.save(tmp_path / "graph.csv")
    assert "\n'=cmd@0," in (tmp_path / "graph.nodes.csv").read_text()
    assert_same(AttributionGraph.load(tmp_path / "graph.csv"), named)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_either_file_names_the_pair(tmp_path: Path, ending: str) -> None:
    graph().save(tmp_path / f"my.nodes.graph.edges{ending}")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name for name in names if name.endswith(ending)] == [
        f"my.nodes.graph.edges{ending}",
        f"my.nodes.graph.nodes{ending}",
    ]
    for name in names:
        if name.endswith(ending):
            assert_same(AttributionGraph.load(tmp_path / name), graph())
    (tmp_path / f"my.nodes.graph.edges{ending}").unlink()
    with pytest.raises(InputError, match=rf"my.nodes.graph.edges\{ending}' cannot be read: No such file"):
        AttributionGraph.load(tmp_path / f"my.nodes.graph{ending}")


def test_pandas_reads_parquet(tmp_path: Path) -> None:
    saved = graph(dtype=torch.float32)
    saved.save(tmp_path / "graph.parquet")
    nodes, edges = (pd.read_parquet(tmp_path / f"graph.{table}.parquet") for table in ("nodes", "edges"))
    assert nodes["id"].tolist() == saved.nodes["id"].tolist()
    assert nodes["token"].tolist() == saved.nodes["token"].tolist()
    assert nodes["attribution"].dtype == edges["weight"].dtype == np.float32
    assert edges["weight"].tolist() == saved.edge_weight.tolist()


def test_the_two_files_must_be_of_one_graph(tmp_path: Path) -> None:
    graph().save(tmp_path / "graph.parquet")
    graph(max_edges=1).save(tmp_path / "other.parquet")
    (tmp_path / "other.edges.parquet").replace(tmp_path / "graph.edges.parquet")
    with pytest.raises(InputError, match="do not hold the same metadata"):
        AttributionGraph.load(tmp_path / "graph.parquet")


def test_more_rows_than_a_graph_has_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph().save(tmp_path / "graph.parquet")
    monkeypatch.setattr(tables, "_MAX_ROWS", 13)
    with pytest.raises(InputError, match=r"claims .* rows, and at most 13 are read"):
        AttributionGraph.load(tmp_path / "graph.parquet")


def test_what_is_missing_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for ending, module in ((".parquet", "pyarrow"), (".svg", "kaleido"), (".png", "kaleido")):
        with pytest.raises(InputError, match=rf"needs {module}: pip install 'recursive-dla\["):
            check_writable(tmp_path / f"graph{ending}")
    with pytest.raises(InputError, match="needs pyarrow"):
        check_readable(tmp_path / "graph.parquet")


# --- diagrams --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
@pytest.mark.parametrize("which", [graph, hostile])
def test_graphviz_reads_dot(tmp_path: Path, which: object) -> None:
    path = which().save(tmp_path / "graph.dot")
    drawn = subprocess.run(["dot", "-Tjson0", path], capture_output=True, check=True, text=True, timeout=60)
    assert drawn.stderr == ""
    document = json.loads(drawn.stdout, strict=False)
    names = [node["name"] for node in document["objects"]]
    assert names == which().nodes["id"].tolist()
    found = {(names[edge["tail"]], names[edge["head"]]): float(edge["contribution"]) for edge in document["edges"]}
    ids = which().nodes["id"].to_numpy()
    ends = zip(ids[which().edge_source].tolist(), ids[which().edge_target].tolist(), strict=True)
    assert found == dict(zip(ends, which().edge_weight.tolist(), strict=True))


def test_dot_shows_text_as_it_is(tmp_path: Path) -> None:
    text = hostile().save(tmp_path / "graph.dot").read_text()
    assert r"]]>&#0;\\" in text
    assert r"\"]; x -> y //" in text.replace("·", " ")


def test_mermaid_holds_nothing_but_letters_and_codes(tmp_path: Path) -> None:
    text = hostile().save(tmp_path / "graph.mmd").read_text()
    fence, title, end, kind, *lines = text.splitlines()
    assert (fence, end, kind) == ("---", "---", "flowchart BT")
    assert json.loads(title.removeprefix("title: ")).startswith(HOSTILE[1])
    labels = [line.split('"')[1] for line in lines if '"' in line]
    assert all(line.count('"') in (0, 2) for line in lines)
    strongest = hostile().prune(max_edges=40)
    assert len(labels) == len(strongest.nodes) + len(strongest.edge_weight)
    assert not set("<>&%`'\\{}[]()=") & set("".join(labels))
    assert any("#93;" in label for label in labels)


def test_mermaid_draws_no_more_than_it_can(tmp_path: Path) -> None:
    whole = graph(max_edges=None)
    text = whole.save(tmp_path / "graph.mermaid").read_text()
    assert 20 < text.count("-->") <= 40
    assert f"{text.count('-->')} of {len(whole.edge_weight):,} edges" in text
    assert text.count("linkStyle") == text.count("-->")


# --- the registry ----------------------------------------------------------------------------------------------------


def test_the_longest_ending_decides() -> None:
    assert check_writable(Path("a.circuit.json")).endings == (".circuit.json",)
    assert check_writable(Path("a.Node-Link.JSON")).endings == (".node-link.json",)
    assert check_writable(Path("circuit.json")).endings == (".json",)


def test_what_cannot_be_read_names_what_can() -> None:
    for file_format in FORMATS:
        if file_format.read is None:
            with pytest.raises(InputError, match=r"not read from it.*Load one of \.json, \.json\.gz"):
                check_readable(Path(f"graph{file_format.endings[0]}"))


def test_reading_keeps_numbers_whole() -> None:
    with pytest.raises(ValueError, match="1e999 is not a finite number"):
        parse_json("[1e999]")


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_chromium_draws_the_figure_twice_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is missing fails in CI and is skipped elsewhere."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        assert os.environ.get("CI") != "true", "no Chromium on the path"
        pytest.skip("needs Chromium")
    monkeypatch.setenv("BROWSER_PATH", chromium)
    first, second = (hostile().save(tmp_path / f"{name}.svg").read_bytes() for name in ("first", "second"))
    assert first == second
    texts = [
        text
        for node in ElementTree.fromstring(first).iter("{http://www.w3.org/2000/svg}text")
        for text in node.itertext()
    ]
    assert any("img src=x onerror" in text for text in texts)
    assert "embedding" in texts
    assert b"<img" not in first
    picture = graph().save(tmp_path / "graph.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == tuple(
        2 * size for size in (graph().figure().layout.width, graph().figure().layout.height)
    )


def test_a_picture_without_a_browser_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"could not be drawn: .*It takes a Chromium or Chrome"):
        graph().save(tmp_path / "graph.svg")
    assert list(tmp_path.iterdir()) == []
