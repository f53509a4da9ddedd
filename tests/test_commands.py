"""``recursive-dla convert`` and ``info``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import graph, hostile
from models import hugging_face, tokenizer
from test_export import assert_same
from typer.testing import CliRunner, Result

from recursive_dla import AttributionGraph, InputError, cli
from recursive_dla.output.file_facts import file_info, imbalance

# typer calls commands with more than their annotations allow.
pytestmark = pytest.mark.usefixtures("types_unchecked")


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_convert_writes_every_format_that_is_named(tmp_path: Path) -> None:
    source = graph().save(tmp_path / "mary.json")
    out = [tmp_path / f"mary{ending}" for ending in (".json.gz", ".csv", ".graphml", ".dot", ".circuit.json")]
    result = run_command("convert", source, *out)
    assert result.exit_code == 0, result.output
    written = [tmp_path / line.removeprefix("Wrote ") for line in result.output.splitlines()]
    assert sorted(written) == sorted(path for path in tmp_path.iterdir() if path != source)
    assert_same(AttributionGraph.load(out[2]), graph())
    back = tmp_path / "back.json"
    assert run_command("convert", out[1], back).exit_code == 0
    assert back.read_bytes() == source.read_bytes()


def test_convert_prunes_if_asked(tmp_path: Path) -> None:
    source, out = graph().save(tmp_path / "mary.json"), tmp_path / "small.json"
    assert run_command("convert", source, out, "--max-edges", 17).exit_code == 0
    assert_same(AttributionGraph.load(out), graph().prune(max_edges=17))
    assert run_command("convert", source, out, "--max-edges", 10_000).exit_code == 0
    assert out.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("mary.json", "a.graphml", "b.txt"), "No format is known for '.*b.txt'"),
        (("mary.json", "a.graphml", "nowhere/b.json"), "nowhere' does not exist"),
        (("mary.svg", "a.graphml"), "only written to .svg"),
        (("nothing.json", "a.graphml"), "nothing.json' cannot be read: No such file"),
    ],
)
def test_convert_checks_all_paths_before_it_starts(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    graph().save(tmp_path / "mary.json")
    with pytest.raises(InputError, match=message):
        raise run_command("convert", *(tmp_path / name for name in names)).exception
    assert [path.name for path in tmp_path.iterdir()] == ["mary.json"]


def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["recursive-dla", "info", str(tmp_path / "other.json")])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: ")
    assert said.err.count("\n") == 1


def test_info_tells_what_is_in_a_file(tmp_path: Path) -> None:
    path = graph().save(tmp_path / "mary.json.gz")
    result = run_command("info", path)
    assert result.exit_code == 0, result.output
    for text in (
        "mary.json.gz, .json.gz version 1", "float64", "gpt2, 3 layers of 2 heads", "(7 tokens)", "'w5' − 'w17' at 6",
        "'w5' with probability 0.0", "ratio", f"{len(graph().nodes)}: ", "1 logit", "edges 85",
        "completeness error", "nodes_before 151",
    ):  # fmt: skip
        assert text in " ".join(result.output.split()), text


def test_info_as_json_is_all_of_it(tmp_path: Path) -> None:
    graph().save(tmp_path / "mary.csv")
    result = run_command("info", "--json", tmp_path / "mary.csv")
    facts = json.loads(result.stdout)
    assert facts == file_info(tmp_path / "mary.csv")
    assert facts["bytes"] == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert facts["edges"] == len(graph().edge_weight)
    assert facts["nodes"] == graph().nodes["kind"].value_counts().to_dict()
    assert facts["metadata"]["target"]["probability"] == graph().metadata.target.probability


def test_info_shows_hostile_text_on_its_line(tmp_path: Path) -> None:
    output = run_command("info", hostile().save(tmp_path / "bad.json")).output
    assert "\x1b" not in output
    assert "\0" not in output
    assert "]]>&#0;" in output


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("max_edges", [None, 89])
def test_nodes_add_up_until_one_is_changed(dtype: torch.dtype, bound: float, max_edges: int | None) -> None:
    one = graph(dtype=dtype, max_edges=max_edges)
    assert imbalance(one) < bound
    for row in (0, len(one.edge_weight) // 2, len(one.edge_weight) - 1):
        weight = one.edge_weight.copy()
        weight[row] += one.metadata.value
        changed = AttributionGraph(one.nodes, one.edge_source, one.edge_target, weight, one.metadata)
        assert imbalance(changed) == pytest.approx(1, abs=bound)
    nodes = one.nodes.assign(rest_out=one.nodes["rest_out"] + np.where(one.nodes["kind"] == "embed", 1.0, 0.0))
    changed = AttributionGraph(nodes, one.edge_source, one.edge_target, one.edge_weight, one.metadata)
    assert imbalance(changed) == pytest.approx(1 / abs(one.metadata.value), rel=1e-3)


def test_a_prompt_is_run_as_given_and_what_is_added_is_said(tmp_path: Path) -> None:
    hugging_face("gpt2").save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)

    def trace(prompt: str) -> Result:
        return run_command("trace", prompt, "--answer", "w5", "--model", tmp_path, "--json")

    documents = []
    for prompt, said in (("w7 w9", True), ("<bos>w7 w9", False)):
        done = trace(prompt)
        assert done.exit_code == 0, done.output
        assert ("Put before the prompt, as is the model's default: '<bos>'" in done.stderr) == said
        documents.append(json.loads(done.stdout))
    for document in documents:
        assert [token["token_id"] for token in document["metadata"]["tokens"]] == [0, 7, 9]
    with pytest.raises(InputError, match=r"is 41 tokens .* the model has 31 positions"):
        raise trace(" ".join(["w7"] * 40)).exception
