"""Graphs and trees that the first release wrote: they load, and are written as they were.

``data/0.1.0`` holds what 0.1.0 made of the model and the tokens in ``test_cache_files.py``.
"""

from __future__ import annotations

from pathlib import Path

from recursive_dla import AttributionGraph, AttributionTree

DATA = Path(__file__).parent / "data" / "0.1.0"


def test_a_graph_of_the_first_release_loads_and_is_written_as_it_was(tmp_path: Path) -> None:
    graph = AttributionGraph.load(DATA / "graph.json")
    assert graph.metadata.generator == "recursive_dla 0.1.0"
    assert len(graph.nodes) == 39
    assert len(graph.edge_weight) == 52
    assert graph.save(tmp_path / "graph.json").read_bytes() == (DATA / "graph.json").read_bytes()


def test_a_tree_of_the_first_release_loads_and_is_written_as_it_was(tmp_path: Path) -> None:
    tree = AttributionTree.load(DATA / "tree.json")
    assert tree.metadata.generator == "recursive_dla 0.1.0"
    assert tree.metadata.unit == "neurons"
    assert len(tree.nodes) == 39
    assert tree.nodes["expanded"].sum() == 9
    assert tree.save(tmp_path / "tree.json").read_bytes() == (DATA / "tree.json").read_bytes()
