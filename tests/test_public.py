"""The public names, what importing costs, and that shapes are checked while the tests run."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch
from jaxtyping import TypeCheckError
from models import run

import recursive_dla
from recursive_dla.cache.activation_cache import as_cache

PUBLIC = [
    "ActivationCache",
    "AttributionGraph",
    "AttributionTree",
    "Breakdown",
    "CacheError",
    "GraphDifference",
    "InputError",
    "Paths",
    "ScoreBreakdown",
    "Target",
    "UnsupportedModelError",
    "attention_score_breakdown",
    "attribution_graph",
    "attribution_graphs",
    "attribution_tree",
    "break_down",
    "centred_logit_target",
    "check",
    "compare",
    "direction_target",
    "dla_attn_head_breakdown_source_component",
    "dla_mlp_breakdown_source_component",
    "load_model",
    "log_prob_target",
    "logit_target",
    "rank_components",
    "run_with_lean_cache",
    "strongest_paths",
]


def test_the_public_names_are_these() -> None:
    assert recursive_dla.__all__ == PUBLIC
    for name in PUBLIC:
        public = getattr(recursive_dla, name)
        home = importlib.import_module(public.__module__)
        assert home.__name__.startswith("recursive_dla.")
        assert getattr(home, name) is public
    assert set(PUBLIC) <= set(dir(recursive_dla))
    with pytest.raises(AttributeError, match="module 'recursive_dla' has no attribute 'surprise'"):
        _ = recursive_dla.surprise


def test_errors_are_input_errors_and_those_are_value_errors() -> None:
    for error in (recursive_dla.CacheError, recursive_dla.UnsupportedModelError):
        assert issubclass(error, recursive_dla.InputError)
    assert issubclass(recursive_dla.InputError, ValueError)


HEAVY = ["transformers", "transformer_lens", "plotly", "networkx", "pandas", "torch"]


def imported(code: str) -> set[str]:
    """Which heavy modules a fresh interpreter has loaded after some code."""
    script = f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_importing_loads_nothing_heavy_and_prints_nothing() -> None:
    assert imported("import recursive_dla") == set()


def test_using_every_name_loads_no_model_library_and_leaves_gradients_on() -> None:
    using = f"import recursive_dla\nfor name in {PUBLIC}: getattr(recursive_dla, name)"
    assert imported(f"{using}\nimport torch\nassert torch.is_grad_enabled()") <= {"torch", "pandas"}


def test_shapes_are_checked_in_tests() -> None:
    model, _, _, cache = run("gpt2")
    with pytest.raises(TypeCheckError, match=r"component \*batch_and_pos d_model"):
        as_cache(cache, model).logit_attrs(torch.zeros(3), 5)
