"""Files: what is written reads back the same, and what is not a graph is refused."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from models import TWO_MODELS, run

from recursive_dla import AttributionGraph, attribution_graph
from recursive_dla.attribution.provenance import Token
from recursive_dla.errors import InputError
from recursive_dla.output.explorer import page_file as page
from recursive_dla.output.files.graph_document import graph_document
from recursive_dla.output.files.graph_json import read_json
from recursive_dla.output.files.schema import schema
from recursive_dla.output.saving import check_writable, format_of

# Everything that could end a string, a script or a line, or be lost on the way to a file and back.
HOSTILE = ['"', "\\", "</script><b>", "\n", "\r\n", "\t", "\0", "\u2028", "🙂", "é\u0301", "ￂ", " ", ""]


@cache
def graph(name: str = "gpt2", dtype: torch.dtype = torch.float64, max_edges: int | None = 89) -> AttributionGraph:
    model, _, _, activations = run(name, dtype)
    found = attribution_graph(activations, model, 5, wrong_answers=17)
    return found if max_edges is None else found.prune(max_edges=max_edges)


def assert_same(one: AttributionGraph, other: AttributionGraph) -> None:
    assert one.metadata == other.metadata
    assert one.nodes.equals(other.nodes)
    assert one.nodes.dtypes.to_dict() == other.nodes.dtypes.to_dict()
    for array in ("edge_source", "edge_target", "edge_weight"):
        mine, yours = getattr(one, array), getattr(other, array)
        assert mine.dtype == yours.dtype
        assert np.array_equal(mine, yours)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("max_edges", [None, 89, 1])
@pytest.mark.parametrize("name", TWO_MODELS)
def test_what_is_saved_loads_the_same(tmp_path: Path, name: str, max_edges: int | None, dtype: torch.dtype) -> None:
    saved = graph(name, dtype, max_edges)
    path = saved.save(tmp_path / "graph.json")
    assert path == tmp_path / "graph.json"
    assert_same(AttributionGraph.load(path), saved)
    again = AttributionGraph.load(str(path)).save(str(tmp_path / "again.json"))
    assert again.read_bytes() == path.read_bytes()


def test_hostile_tokens_survive(tmp_path: Path) -> None:
    meta = graph().metadata
    tokens = tuple(Token(token.pos, None, text) for token, text in zip(meta.tokens, HOSTILE, strict=False))
    for text in HOSTILE:
        target = replace(meta.target, answer=text, label=text)
        changed = replace(graph(), metadata=replace(meta, tokens=tokens, target=target))
        changed = replace(changed, nodes=changed.nodes.assign(token=[tokens[pos].text for pos in changed.nodes["pos"]]))
        assert_same(AttributionGraph.load(changed.save(tmp_path / "graph.json")), changed)


@pytest.mark.parametrize("suffix", [".json", ".html", ".JSON"])
def test_the_same_graph_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    first = graph().save(tmp_path / f"first{suffix}").read_bytes()
    model, _, _, activations = run("gpt2")
    again = attribution_graph(activations, model, 5, wrong_answers=17).prune(max_edges=89)
    assert again.save(tmp_path / f"second{suffix}").read_bytes() == first
    assert first.endswith(b"\n")
    assert b"\r" not in first


def test_the_document_says_what_it_is() -> None:
    document = json.loads(json.dumps(graph_document(graph("llama-biased"))))
    assert list(document) == ["format", "version", "dtype", "metadata", "nodes", "edges"]
    assert (document["format"], document["version"], document["dtype"]) == (
        "recursive_dla.attribution_graph", 1, "float64"
    )  # fmt: skip
    assert document["metadata"]["prompt"] == "".join(token["text"] for token in document["metadata"]["tokens"])
    kinds = {node["kind"]: node for node in document["nodes"]}
    assert set(kinds["head"]) == {
        "id", "kind", "component", "layer", "head", "pos", "attribution", "rest_in", "rest_out"
    }  # fmt: skip
    assert isinstance(kinds["head"]["head"], int)
    assert kinds["logit"]["head"] is None
    ids = {node["id"] for node in document["nodes"]}
    assert all({edge["source"], edge["target"]} <= ids for edge in document["edges"])


def test_float32_is_written_with_no_more_digits_than_it_has(tmp_path: Path) -> None:
    document = json.loads(graph(dtype=torch.float32).save(tmp_path / "graph.json").read_text())
    weights = [edge["weight"] for edge in document["edges"]]
    assert max(len(repr(weight).lstrip("-").replace(".", "").strip("0")) for weight in weights) <= 9
    assert np.array_equal(np.array(weights, dtype=np.float32), graph(dtype=torch.float32).edge_weight)


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["graph", "graph.txt", "graph.json.bz2", ".json", ".json.gz"])
def test_an_unknown_extension_lists_the_known(tmp_path: Path, name: str) -> None:
    for call in (graph().save, check_writable, format_of):
        with pytest.raises(
            InputError, match=r"No format is known for .*Use one of the extensions \.json, \.json\.gz, \.html"
        ):
            call(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder.json"
    folder.mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere" / "graph.json", folder, tmp_path / "file" / "graph.json"):
        with pytest.raises(InputError, match=r"cannot be written: ") as caught:
            graph().save(path)
        assert str(path) in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.json"]


def test_a_path_is_checked_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.json").mkdir()
    check_writable(tmp_path / "graph.json")
    with pytest.raises(InputError, match="is a folder; give the path of a file"):
        check_writable(tmp_path / "folder.json")
    with pytest.raises(InputError, match="nowhere' does not exist; create it"):
        check_writable(tmp_path / "nowhere" / "graph.json")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="cannot be written to; choose another"):
        check_writable(tmp_path / "graph.json")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "graph.json"
    path.write_text("before")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        graph().save(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_no_reader_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is complete before it takes its name."""
    path, seen = tmp_path / "graph.json", []
    real = Path.replace

    def watch(temporary: Path, target: Path) -> Path:
        seen.append((path.exists(), read_json(temporary).metadata == graph().metadata))
        return real(temporary, target)

    monkeypatch.setattr(Path, "replace", watch)
    graph().save(path)
    assert seen == [(False, True)]


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_the_file_has_the_modes_of_any_other(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        path = graph().save(tmp_path / "graph.json")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_page_is_refused_for_too_many_edges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edges = len(graph().edge_weight)
    monkeypatch.setattr(page, "MAX_PAGE_EDGES", edges - 1)
    with pytest.raises(InputError, match=f"at most {edges - 1} edges, and the graph has {edges}. Prune it first"):
        graph().save(tmp_path / "graph.html")
    assert list(tmp_path.iterdir()) == []


# --- reading ---------------------------------------------------------------------------------------------------------


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b'{"format": "\xe9"}')
    (tmp_path / "folder.json").mkdir()
    for name, message in (
        ("nothing.json", "cannot be read: No such file"),
        ("folder.json", "cannot be read: Is a directory"),
        ("latin.json", "does not hold an attribution graph: it is not UTF-8 text"),
        ("graph.svg", r"only written to \.svg, not read from it"),
        ("graph.txt", "No format is known"),
    ):
        with pytest.raises(InputError, match=message):
            AttributionGraph.load(tmp_path / name)


def load_text(tmp_path: Path, text: str) -> AttributionGraph:
    path = tmp_path / "graph.json"
    path.write_text(text, encoding="utf-8")
    return AttributionGraph.load(path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    text = graph().save(tmp_path / "whole.json").read_text()
    assert_same(load_text(tmp_path, text), graph())
    for length in range(0, len(text.rstrip()), 997):
        with pytest.raises(InputError, match="does not hold an attribution graph"):
            load_text(tmp_path, text[:length])


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "3", '"text"', "{}", "NaN", "{", "\ufeff{}", "[" * 100_000, '{"format": ' * 10_000, "9" * 5_000],
    ids=lambda text: text[:12],
)
def test_what_is_no_graph_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="does not hold an attribution graph"):
        load_text(tmp_path, text)


def set_(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    """Sets one value deep in a document."""

    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return change


def delete(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


def hostile_name(text: str) -> Callable[[dict[str, Any]], None]:
    """Renames a node, with the edges that it has."""

    def change(document: dict[str, Any]) -> None:
        old = document["nodes"][0]["id"]
        document["nodes"][0]["id"] = text
        for edge in document["edges"]:
            edge.update({end: text for end in ("source", "target") if edge[end] == old})

    return change


def nested(depth: int) -> dict[str, Any]:
    return {"deeper": nested(depth - 1)} if depth else {}


# What the schema says, in its own words.
BREAKS_SCHEMA: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (delete("metadata"), "must contain .*'metadata'"),
    (delete("metadata", "tokens"), "metadata must contain .*'tokens'"),
    (delete("metadata", "target", "label"), "metadata.target must contain .*'label'"),
    (delete("nodes", 3, "id"), r"nodes\[3\] must contain .*'id'"),
    (delete("edges", 3, "weight"), r"edges\[3\] must contain .*'weight'"),
    (set_("dtype", to="int64"), "dtype must be one of"),
    (set_("dtype", to="object"), "dtype must be one of"),
    (set_("dtype", to=None), "dtype must be one of"),
    (set_("surprise", to=1), "must not contain .*'surprise'"),
    (set_("metadata", to=[]), "metadata must be object"),
    (set_("metadata", "surprise", to=1), "surprise"),
    (set_("metadata", "tokens", to=[]), "metadata.tokens must contain at least 1"),
    (set_("metadata", "tokens", 0, "text", to=5), "text must be string"),
    (set_("metadata", "tokens", 0, "token_id", to=-1), "token_id must be bigger"),
    (set_("metadata", "target", "pos", to="6"), "pos must be integer"),
    (set_("metadata", "target", "probability", to=1.5), "probability must be smaller"),
    (set_("metadata", "value", to=None), "value must be number"),
    (set_("metadata", "value", to="5.5"), "value must be number"),
    (set_("metadata", "pruning", to=3), "pruning must be object or null"),
    (set_("metadata", "n_layers", to=None), "n_layers must be integer"),
    (set_("nodes", to=None), "nodes must be array"),
    (set_("nodes", 0, to=7), r"nodes\[0\] must be object"),
    (set_("nodes", 0, "pos", to=-1), "pos must be bigger"),
    (set_("nodes", 0, "pos", to="0"), "pos must be integer"),
    (set_("nodes", 0, "pos", to=True), "pos must be integer"),
    (set_("nodes", 0, "head", to=0.5), "head must be integer"),
    (set_("nodes", 0, "layer", to=None), "layer must be integer"),
    (set_("nodes", 0, "layer", to=10**30), "layer must be smaller"),
    (set_("nodes", 0, "kind", to=["head"]), "kind must be string"),
    (set_("nodes", 0, "attribution", to=None), "attribution must be number"),
    (set_("nodes", 0, "rest_in", to="0"), "rest_in must be number"),
    (hostile_name("two\nlines@0"), "id must match pattern"),
    (hostile_name(""), "id must be longer"),
    (set_("edges", 0, "target", to=None), "target must be string"),
    (set_("edges", 0, "target", to=[]), "target must be string"),
    (set_("edges", 0, "weight", to="1"), "weight must be number"),
    (set_("edges", 0, "weight", to=True), "weight must be number"),
    (set_("edges", to={"source": "embed@0"}), "edges must be array"),
]
# What no schema can say.
BREAKS_MORE: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (delete("format"), "expected recursive_dla.attribution_graph version 1, and this has no `format`"),
    (set_("format", to="something.else"), "version 1, and this is 'something.else'"),
    (set_("version", to=2), "version 2, which a later recursive_dla wrote; this one reads up to version 1. Upgrade it"),
    (set_("nodes", 0, "pos", to=7), "`pos` must be an integer from 0 to 6, got 7"),
    (set_("nodes", 0, "layer", to=4), "`layer` must be an integer from -1 to 3, got 4"),
    (set_("nodes", 0, "head", to=99), "`head` must be an integer from -1 to .*, got 99"),
    (set_("metadata", "tokens", 0, "pos", to=1), "`pos` must count from 0"),
    (set_("metadata", "target", "pos", to=7), "`pos` 7 is not the position of a token"),
    (set_("metadata", "value", to=float("nan")), "NaN is not a finite number"),
    (set_("metadata", "pruning", to=nested(50)), "nested more than 32 deep"),
    (set_("metadata", "pruning", to={"a": float("inf")}), "Infinity is not a finite number"),
    (set_("nodes", 0, "rest_out", to=float("nan")), "NaN is not a finite number"),
    (set_("nodes", 0, "attribution", to=10**400), "too large"),
    (set_("edges", 0, "weight", to=10**400), "too large"),
    (set_("edges", 0, "weight", to=float("inf")), "Infinity is not a finite number"),
    (lambda document: document["nodes"].append(document["nodes"][0]), "two nodes have the same id"),
    (lambda document: document["edges"].append(document["edges"][0]), "two edges have the same source and target"),
    (
        lambda document: document["edges"].append(
            {"source": document["edges"][0]["target"], "target": document["edges"][0]["source"], "weight": 1.0}
        ),
        "a cycle",
    ),
    (set_("edges", 0, "source", to="logit@6"), "a cycle|the same source and target"),
    (set_("edges", 0, "source", to="nowhere@0"), "`source` is not the id of a node: 'nowhere@0'"),
]


def changed(change: Callable[[dict[str, Any]], None]) -> str:
    document = json.loads(json.dumps(graph_document(graph())))
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(("change", "message"), BREAKS_SCHEMA + BREAKS_MORE)
def test_a_document_that_breaks_a_rule_is_refused(
    types_unchecked: None, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    assert_same(load_text(tmp_path, changed(lambda document: None)), graph())
    with pytest.raises(InputError, match=f"does not hold an attribution graph: .*{message}"):
        load_text(tmp_path, changed(change))


@pytest.mark.parametrize("change", [change for change, _ in BREAKS_SCHEMA])
def test_the_shipped_schema_refuses_the_same(change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(json.dumps(graph_document(graph())))
    validator = jsonschema.Draft7Validator(schema())
    assert validator.is_valid(document)
    change(document)
    assert not validator.is_valid(document)


def test_whole_numbers_may_have_a_fraction_of_zero(tmp_path: Path) -> None:
    """As JSON has them, and as the schema allows."""

    def change(document: dict[str, Any]) -> None:
        document["nodes"][0]["pos"] = float(document["nodes"][0]["pos"])
        document["metadata"]["n_layers"] = 3.0
        document["metadata"]["tokens"][1]["token_id"] = float(document["metadata"]["tokens"][1]["token_id"])

    loaded = load_text(tmp_path, changed(change))
    assert_same(loaded, graph())
    assert type(loaded.metadata.n_layers) is int
    assert type(loaded.metadata.tokens[1].token_id) is int


def test_fields_that_came_later_may_be_missing(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        for name in ("answer_id", "wrong_answer_id", "probability"):
            del document["metadata"]["target"][name]

    loaded = load_text(tmp_path, changed(change))
    assert loaded.metadata.target == replace(
        graph().metadata.target, answer_id=None, wrong_answer_id=None, probability=None
    )


def test_a_pinned_subgraph_of_the_explorer_loads_and_prints(tmp_path: Path) -> None:
    """It says how it came about in words of its own."""
    pruning = {"subgraph": "pinned nodes", "groups": [{"name": "a", "members": ["embed@0"]}], "before": None}
    loaded = load_text(tmp_path, changed(set_("metadata", "pruning", to=pruning)))
    assert loaded.metadata.pruning == pruning
    assert "nodes, " in str(loaded)
    assert "edges" in loaded._repr_html_()


def test_a_weight_beyond_its_type_is_refused(tmp_path: Path) -> None:
    document = json.loads(json.dumps(graph_document(graph(dtype=torch.float32))))
    document["edges"][0]["weight"] = 1e39
    with pytest.raises(InputError, match="not a finite number"):
        load_text(tmp_path, json.dumps(document))
