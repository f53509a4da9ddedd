"""How well do rules rank components? Zero the top share of components, and keep only it, and watch the prediction.

A component is a head or an MLP at one position. What is explained is the model's own first choice after each prompt.
For each way of ranking, the components with the highest scores are zeroed, and in another run all others are; reported
is the probability that the choice keeps, averaged over the shares and the prompts. A good ranking has a low figure for
``removed`` and a high one for ``kept``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import torch
from prompts import prompts
from torch import Tensor

from recursive_dla import ActivationCache, attribution_graph, centred_logit_target, load_model
from recursive_dla.attribution.ranking import PathWeights, rank_components

REMOVED_SHARES = (0.002, 0.005, 0.02)
KEPT_SHARES = (0.1, 0.2, 0.4)
# Everything attends to the first token as a resting place; without it every model breaks, whatever the ranking.
FIRST_POSITION = 1


def rankings(cache: ActivationCache, model: Any, answer: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each way of scoring components, by name."""
    target = centred_logit_target(cache, answer)
    # The same numbers as the graph's nodes, without its edges, where the rule is one of weights on gate and up.
    for name, weights in {
        "ratio": PathWeights(value=1, query=0, key=0),
        "frozen-gate": PathWeights(value=1, query=0, key=0, gate=0, up=1),
        "stop": PathWeights(value=1, query=0, key=0, gate=0, up=0),
        "ranking, v=0.5 q=k=0.25": PathWeights(value=0.5, query=0.25, key=0.25),
        "ranking, v=1 q=k=0.25": PathWeights(value=1, query=0.25, key=0.25),
        "ranking, v=1 q=k=0.5": PathWeights(value=1, query=0.5, key=0.5),
    }.items():
        scores = rank_components(cache, model, target, weights=weights, check=False)
        yield name, scores[["layer", "head", "pos", "score"]]
    for rule in ("integrated-gradients", "gradient"):
        nodes = attribution_graph(cache, model, target, rule=rule, check=False).nodes
        nodes = nodes[nodes["kind"].isin(("head", "mlp"))]
        yield rule, nodes.rename(columns={"attribution": "score"})[["layer", "head", "pos", "score"]]
    # Seeded by the answer, the same on every run.
    generator = torch.Generator().manual_seed(answer)
    yield "at random", scores.assign(score=torch.rand(len(scores), generator=generator).numpy())


@torch.no_grad()
def kept_probability(model: Any, tokens: Tensor, token: int, heads: Tensor, mlps: Tensor) -> Tensor:
    """The answer's probability with components zeroed where ``heads`` and ``mlps`` are 0.

    Args:
        heads: ``[run layer pos head]``.
        mlps: ``[run layer pos]``.
    """

    def keep(layer: int, which: Tensor) -> Callable[..., Tensor]:
        mask = which[:, layer][..., None]
        return lambda activation, hook: activation * mask

    hooks = [(f"blocks.{layer}.attn.hook_z", keep(layer, heads)) for layer in range(heads.shape[1])]
    hooks += [(f"blocks.{layer}.hook_mlp_out", keep(layer, mlps)) for layer in range(mlps.shape[1])]
    logits = model.run_with_hooks(tokens.expand(len(heads), -1), fwd_hooks=hooks)
    return logits[:, -1].softmax(-1)[:, token]


def masks(scores: pd.DataFrame, n_layers: int, n_heads: int, n_pos: int) -> tuple[Tensor, Tensor]:
    """What is kept, ``[run layer pos head]`` and ``[run layer pos]``: first all but the top, then only the top."""
    scores = scores[scores["pos"] >= FIRST_POSITION].sort_values("score", ascending=False, kind="stable")
    layer, head, pos = (torch.tensor(scores[name].to_numpy()) for name in ("layer", "head", "pos"))
    every = torch.ones(len(REMOVED_SHARES) + len(KEPT_SHARES), n_layers, n_pos, n_heads + 1)
    place = torch.where(head < 0, n_heads, head)
    for run, share in enumerate(REMOVED_SHARES):
        top = slice(0, max(1, round(share * len(scores))))
        every[run, layer[top], pos[top], place[top]] = 0
    for run, share in enumerate(KEPT_SHARES, start=len(REMOVED_SHARES)):
        rest = slice(max(1, round(share * len(scores))), None)
        every[run, layer[rest], pos[rest], place[rest]] = 0
    return every[..., :n_heads], every[..., n_heads]


def main() -> None:
    model = load_model("demo")
    rows = []
    for kind, cases in prompts().items():
        for prompt, expected in cases:
            tokens = model.to_tokens(prompt)
            with torch.no_grad():
                logits, cached = model.run_with_cache(tokens)
            intact = logits[0, -1].softmax(-1)
            token = int(intact.argmax())
            cache = ActivationCache(cached.cache_dict, model)
            weights = cache.weights
            here = {"kind": kind, "intact": float(intact[token]), "expected": token == model.to_single_token(expected)}
            for name, scores in rankings(cache, model, token):
                kept = masks(scores, weights.n_layers, weights.n_heads, tokens.shape[1])
                found = kept_probability(model, tokens, token, *kept)
                n_removed = len(REMOVED_SHARES)
                removed, alone = float(found[:n_removed].mean()), float(found[n_removed:].mean())
                rows.append({"ranking": name, "removed": removed, "kept": alone, **here})
        print(f"{kind}: {len(cases)} prompts done", flush=True)
    table = pd.DataFrame(rows)
    prompts_seen = table[table["ranking"] == "ratio"]
    print(
        f"{len(prompts_seen)} prompts; first choice as expected in {prompts_seen['expected'].sum()}, "
        f"its mean probability {prompts_seen['intact'].mean():.3f}"
    )
    print(f"removed: top {REMOVED_SHARES}; kept: top {KEPT_SHARES}; the first position is left alone")
    print(table.groupby("ranking", sort=False)[["removed", "kept"]].mean().round(3).to_string())
    print(
        table.pivot_table(index="ranking", columns="kind", values=["removed", "kept"], sort=False).round(3).to_string()
    )


if __name__ == "__main__":
    main()
