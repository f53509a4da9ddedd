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

import numpy as np
import pytest
import torch
from models import TWO_MODELS, run

from recursive_dla import AttributionGraph, attribution_graph, export
from recursive_dla.errors import InputError
from recursive_dla.export import check_writable, graph_document, writer_for
from recursive_dla.graph import Token

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


@pytest.mark.parametrize("name", ["graph", "graph.txt", "graph.json.gz", ".json"])
def test_an_unknown_extension_lists_the_known(tmp_path: Path, name: str) -> None:
    for call in (graph().save, check_writable, writer_for):
        with pytest.raises(InputError, match=r"No format is known for .*Use one of the extensions \.json, \.html"):
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
        seen.append((path.exists(), AttributionGraph.load(temporary).metadata == graph().metadata))
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
    monkeypatch.setattr(export, "MAX_PAGE_EDGES", edges - 1)
    with pytest.raises(InputError, match=f"at most {edges - 1} edges, and the graph has {edges}. Prune it first"):
        graph().save(tmp_path / "graph.html")
    assert list(tmp_path.iterdir()) == []


# --- reading ---------------------------------------------------------------------------------------------------------


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b'{"format": "\xe9"}')
    for name, message in (("nothing.json", "No such file"), ("", "Is a directory"), ("latin.json", "not UTF-8 text")):
        with pytest.raises(InputError, match=f"cannot be read: .*{message}"):
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


REFUSED: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (delete("format"), "'format' is missing"),
    (delete("metadata"), "'metadata' is missing"),
    (delete("metadata", "tokens"), "'tokens' is missing"),
    (delete("metadata", "target", "label"), "label"),
    (delete("nodes", 3, "id"), "'id' is missing"),
    (delete("edges", 3, "weight"), "'weight' is missing"),
    (set_("format", to="something.else"), "expected recursive_dla.attribution_graph version 1, got 'something.else'"),
    (set_("version", to=2), "version 1, got 'recursive_dla.attribution_graph' 2"),
    (set_("dtype", to="int64"), "`dtype` must be a floating-point type"),
    (set_("dtype", to="object"), "`dtype`"),
    (set_("dtype", to="no type"), "no type"),
    (set_("metadata", to=[]), ""),
    (set_("metadata", "surprise", to=1), "surprise"),
    (set_("nodes", to=None), ""),
    (set_("nodes", 0, to=7), ""),
    (set_("nodes", 0, "pos", to=7), "`pos` is not the position of a token"),
    (set_("nodes", 0, "pos", to=-1), "`pos` is not the position of a token"),
    (set_("nodes", 0, "pos", to="0"), "expected int, got '0'"),
    (set_("nodes", 0, "pos", to=True), "expected int, got True"),
    (set_("nodes", 0, "head", to=0.5), "expected int, got 0.5"),
    (set_("nodes", 0, "layer", to=None), "expected int, got None"),
    (set_("nodes", 0, "kind", to=["head"]), "expected str"),
    (set_("nodes", 0, "attribution", to=None), "not a finite number"),
    (set_("nodes", 0, "rest_in", to="0"), "not a finite number"),
    (set_("nodes", 0, "rest_out", to=float("nan")), "not a finite number"),
    (lambda document: document["nodes"].append(document["nodes"][0]), "two nodes have the same id"),
    (set_("edges", 0, "source", to="nowhere@0"), "'nowhere@0' is missing"),
    (set_("edges", 0, "target", to=None), "None is missing"),
    (set_("edges", 0, "target", to=[]), ""),
    (set_("edges", 0, "weight", to=float("inf")), "not a finite number"),
    (set_("edges", 0, "weight", to="1"), "not a finite number"),
    (set_("edges", 0, "weight", to=True), "not a finite number"),
    (set_("edges", to={"source": "embed@0"}), ""),
]
# Values of a wrong kind or size.
WRONG_VALUES = [
    set_("edges", 0, "weight", to=10**400),
    set_("nodes", 0, "attribution", to=10**400),
    set_("nodes", 0, "layer", to=10**30),
    set_("metadata", "value", to=None),
    set_("metadata", "value", to="5.5"),
    set_("metadata", "value", to=float("nan")),
    set_("metadata", "tokens", 0, "text", to=5),
    set_("metadata", "target", "pos", to="6"),
    set_("metadata", "pruning", to=3),
    set_("metadata", "n_layers", to=None),
]


def changed(change: Callable[[dict[str, Any]], None]) -> str:
    document = json.loads(json.dumps(graph_document(graph())))
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_document_that_breaks_a_rule_is_refused(
    types_unchecked: None, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    assert_same(load_text(tmp_path, changed(lambda document: None)), graph())
    with pytest.raises(InputError, match=f"does not hold an attribution graph: .*{message}"):
        load_text(tmp_path, changed(change))


@pytest.mark.parametrize("change", WRONG_VALUES)
def test_a_document_with_values_of_the_wrong_kind_is_refused(
    types_unchecked: None, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    with pytest.raises(InputError, match="does not hold an attribution graph"):
        load_text(tmp_path, changed(change))


def test_a_weight_beyond_its_type_is_refused(tmp_path: Path) -> None:
    document = json.loads(json.dumps(graph_document(graph(dtype=torch.float32))))
    document["edges"][0]["weight"] = 1e39
    with pytest.raises(InputError, match="not a finite number"):
        load_text(tmp_path, json.dumps(document))
