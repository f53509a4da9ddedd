"""Broken and hostile files: whatever is in one, an InputError comes out of it, or a sound graph."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from graphs import graph, hostile
from test_export import assert_same

from recursive_dla import AttributionGraph, InputError
from recursive_dla.output.files.graph_document import graph_document
from recursive_dla.output.files.schema import schema, validate
from recursive_dla.output.saving import FORMATS, check_writable

READABLE = [file_format.endings[0] for file_format in FORMATS if file_format.read is not None]
MUTATIONS = 150
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 3.0, 0.5, 7, 2**31, 10**30, 1e308, "", "a", "\0", "\ud800", "<b>", [], {}, [[]],
    {"a": 1}, "embed@0", "logit@6",
]  # fmt: skip
SNIPPETS = [
    b"",
    b"\0",
    b"<",
    b'"',
    b"}",
    b"[" * 5000,
    b"9" * 5000,
    b"NaN",
    b"-1e999",
    b"\xff",
    b"&x;",
    b"<!--",
    b"\n,,,\n",
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """``data`` with some part of it cut out, doubled, moved, or replaced."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(data) + 1)
        stop = min(len(data), start + chance.choice([1, 2, 5, 50, 500, len(data)]))
        middle = chance.choice(
            [
                chance.choice(SNIPPETS),
                data[start:stop] * 2,
                chance.randbytes(stop - start),
                data[stop:start:-1],
                bytes([chance.randrange(256)]),
            ]
        )
        data = data[:start] + middle + data[stop:]
    return data


@pytest.mark.parametrize("ending", READABLE)
def test_a_mutated_file_gives_a_graph_or_an_input_error(tmp_path: Path, ending: str, types_unchecked: None) -> None:
    chance = random.Random(ending)
    refused = 0
    path = graph().save(tmp_path / f"graph{ending}")
    files = check_writable(path).files(path)
    whole = {file: file.read_bytes() for file in files}
    for _ in range(MUTATIONS):
        file = chance.choice(files)
        file.write_bytes(mutated(whole[file], chance))
        message = refusal(path)
        if message is not None:
            refused += 1
            assert 20 < len(message) < 1000
            assert "\n" not in message
        file.write_bytes(whole[file])
    assert refused > MUTATIONS / 2
    assert_same(AttributionGraph.load(path), graph())


def refusal(path: Path) -> str | None:
    """Why a file was refused; ``None`` if it held a sound graph."""
    try:
        sound(AttributionGraph.load(path))
    except InputError as error:
        return str(error)
    return None


def sound(one: AttributionGraph) -> None:
    """Whatever was loaded can be saved and loaded again."""
    validate(json.loads(json.dumps(graph_document(one))))
    assert str(one)
    assert one._repr_html_()


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values are in a document."""
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for key, value in inside for place in places(value, (*path, key)))]


@cache
def small() -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    document = json.loads(json.dumps(graph_document(graph(max_edges=7))))
    return document, places(document)[1:]


def changed(chance: random.Random) -> Any:
    """A document with one to three of its values changed, taken out or added."""
    document, known = small()
    document = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        *path, key = chance.choice(known)
        with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError):
            parent = document
            for step in path:
                parent = parent[step]
            match chance.randrange(4):
                case 0:
                    del parent[key]
                case 1 if isinstance(parent, list):
                    parent.append(parent[0])
                case 1:
                    parent["more"] = 1
                case _:
                    parent[key] = chance.choice(VALUES)
    return document


def test_the_loader_and_the_shipped_schema_agree(tmp_path: Path, types_unchecked: None) -> None:
    """What the schema refuses is never loaded; what it allows fails only by what no schema can say."""
    chance = random.Random(7)
    validator = jsonschema.Draft7Validator(schema())
    allowed = loaded = 0
    for _ in range(600):
        document = changed(chance)
        fits = validator.is_valid(document)
        try:
            validate(document)
            validated = True
        except ValueError:
            validated = False
        assert validated == fits, document
        allowed += fits
        (tmp_path / "graph.json").write_text(json.dumps(document))
        if refusal(tmp_path / "graph.json") is None:
            loaded += 1
            assert fits
    assert 5 < loaded < allowed < 400


@pytest.mark.parametrize("ending", READABLE)
def test_an_empty_file_is_refused(tmp_path: Path, ending: str) -> None:
    path = graph().save(tmp_path / f"graph{ending}")
    for file in check_writable(path).files(path):
        file.write_bytes(b"")
    with pytest.raises(InputError, match="does not hold an attribution graph"):
        AttributionGraph.load(path)


@pytest.mark.parametrize("ending", READABLE)
def test_a_file_of_another_format_is_refused(tmp_path: Path, ending: str) -> None:
    for other in (".json", ".json.gz", ".html", ".graphml", ".node-link.json", ".circuit.json", ".dot"):
        if other == ending:
            continue
        data = hostile().save(tmp_path / f"graph{other}").read_bytes()
        path = tmp_path / f"wrong{ending}"
        for file in check_writable(path).files(path):
            file.write_bytes(data)
        with pytest.raises(InputError, match="does not hold an attribution graph"):
            AttributionGraph.load(path)


def test_deep_nesting_inside_a_packed_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.json.gz").write_bytes(gzip.compress(b"[" * 10_000_000))
    with pytest.raises(InputError, match=r"nested too deeply|unpack"):
        AttributionGraph.load(tmp_path / "deep.json.gz")


def test_loading_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pickle, no eval: the readers get by without either."""
    import builtins
    import pickle

    graphs = {ending: graph().save(tmp_path / f"graph{ending}") for ending in READABLE}
    for path in graphs.values():
        AttributionGraph.load(path)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a file made code run")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(builtins, "eval", refuse)
    for path in graphs.values():
        assert_same(AttributionGraph.load(path), graph())
