"""Results do not depend on the device: runs where a GPU is present."""

from __future__ import annotations

import pytest
import torch
from models import random_tokens, run_on, tiny

from recursive_dla import attribution_graph, break_down

DEVICES = [name for name in ("cuda", "mps") if getattr(torch, name, torch.backends.mps).is_available()]


@pytest.mark.skipif(not DEVICES, reason="no GPU here")
@pytest.mark.parametrize("name", ["gpt2", "llama-biased"])
@pytest.mark.parametrize("device", DEVICES)
def test_gpu_gives_what_the_cpu_gives(name: str, device: str) -> None:
    model = tiny(name, torch.float32, seed=5)
    here = run_on(model, random_tokens())
    expected = break_down(here.cache, model, 5, wrong_answers=3).values
    nodes = attribution_graph(here.cache, model, 5, wrong_answers=3).nodes.set_index("id")["attribution"]
    try:
        model.to(device)
        there = run_on(model, random_tokens().to(device))
        found = break_down(there.cache, model, 5, wrong_answers=3).values
        assert found.device.type == device
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)
        moved = attribution_graph(there.cache, model, 5, wrong_answers=3).nodes.set_index("id")["attribution"]
        torch.testing.assert_close(
            torch.tensor(moved.reindex(nodes.index).to_numpy()), torch.tensor(nodes.to_numpy()), rtol=1e-4, atol=1e-4
        )
    finally:
        model.to("cpu")
