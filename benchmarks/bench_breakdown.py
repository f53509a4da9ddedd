"""The head breakdown against one that materialises every head's output per source position and component.

Both give ``[dest_l dest_h src_pos src_comp]``. The reference builds ``[src_comp src_pos head d_model]`` layer by layer,
which is the breakdown as one writes it: values, weighted by the pattern, through ``W_O``, scaled by the final norm,
and only then read along the answer.
"""

from __future__ import annotations

from functools import partial

import torch
from einops import einsum, repeat
from measure import machine, medians
from torch import Tensor

from recursive_dla import ActivationCache, dla_attn_head_breakdown_source_component, load_model

PROMPT = "When John and Mary went to the store, John gave a drink to"


@torch.no_grad()
def materialising(cache: ActivationCache, answer: int) -> Tensor:
    """The same numbers, with each head's output held per source."""
    weights = cache.weights
    stack = cache.decompose_resid()[:, 0]
    answer_direction = weights.W_U[:, answer] * weights.final_norm.weight / cache["scale"][0, -1]
    layers = []
    for index, layer in enumerate(weights.layers):
        attention = layer.attention
        read = stack / cache["scale", index, "ln1"][0] * attention.norm.weight
        W_V = repeat(
            attention.W_V, "kv d_model d_head -> (kv g) d_model d_head", g=weights.n_heads // len(attention.W_V)
        )
        values = einsum(read, W_V, "c k d_model, h d_model d_head -> c k h d_head")
        weighted = values * cache["pattern", index][0, :, -1].T[None, :, :, None]
        outputs = einsum(weighted, attention.W_O, "c k h d_head, h d_head d_model -> c k h d_model")
        contribution = (outputs * answer_direction).sum(-1)
        contribution[1 + 2 * index :] = 0
        layers.append(contribution.permute(2, 1, 0))
    return torch.stack(layers)


def main() -> None:
    model = load_model("demo")
    answer = model.to_single_token(" Mary")
    print(machine())
    print("SmolLM2-135M, one answer; ms")
    print(f"{'tokens':>6} {'materialising':>14} {'break_down':>11} {'ratio':>6}   largest difference, logits")
    for length in (15, 64, 128):
        tokens = model.to_tokens(PROMPT * 10)[:, :length]
        with torch.no_grad():
            _, cached = model.run_with_cache(tokens)
        cache = ActivationCache(cached.cache_dict, model)
        ours = partial(dla_attn_head_breakdown_source_component, cache, model, answer)
        reference = partial(materialising, cache, answer)
        difference = float((ours()[0, 0] - reference()).abs().max())
        fast, slow = medians(ours, reference, runs=5, warmups=1)
        print(f"{length:6} {slow * 1e3:14.1f} {fast * 1e3:11.1f} {slow / fast:6.0f}   {difference:.1e}")


if __name__ == "__main__":
    main()
