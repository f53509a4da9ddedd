"""Fixtures, and the names that the package's doctests use without importing them."""

from __future__ import annotations

import doctest
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

# Before anything imports transformers: no test needs a hub, and progress bars only fill the log.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"


# The tests of the explorer, each of which opens a page.
IN_BROWSER = Path(__file__).parent / "viewer"


@pytest.fixture
def types_unchecked() -> Iterator[None]:
    """Lets arguments of a wrong type through to the code, as they get there outside the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


class Doctests:
    """A plugin of its own, since the fixtures of this file do not reach the doctests of recursive_dla/."""

    @pytest.fixture(autouse=True)
    def _doctest_names(self, request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
        if not isinstance(request.node, pytest.DoctestItem):
            return
        import torch

        import recursive_dla

        doctest_namespace["torch"] = torch
        doctest_namespace.update({name: getattr(recursive_dla, name) for name in recursive_dla.__all__})
        if _needs_demo(request.node):
            from models import demo_run

            demo = demo_run()
            cache = recursive_dla.ActivationCache(demo.cache.cache_dict, demo.model)
            doctest_namespace.update(model=demo.model, cache=cache)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if isinstance(item, pytest.DoctestItem) and _needs_demo(item):
                item.add_marker(pytest.mark.demo)
            if item.path.is_relative_to(IN_BROWSER):
                item.add_marker(pytest.mark.thorough)


def _needs_demo(item: pytest.DoctestItem) -> bool:
    """Whether an example that runs mentions ``model`` or ``cache``."""
    run = (example.source for example in item.dtest.examples if not example.options.get(doctest.SKIP))
    return any(re.search(r"\b(model|cache)\b", source) for source in run)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Doctests(), "recursive_dla-doctests")
