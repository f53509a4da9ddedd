"""A graph small enough to know every number of it by heart."""

from __future__ import annotations

from typing import Any

from synthetic import document, edge, node

TOKENS = [" a", " b", " a", " c"]


def graph(**metadata: Any) -> dict[str, Any]:
    """Ten logits over four tokens.

    ``L0MLP@3`` has two readers, so that paths through it carry a part of it only; the inputs of ``L0H2@2`` cancel.
    """
    nodes = [
        node("embed", "embed", -1, 0, attribution=5.0),
        node("embed", "embed", -1, 1, attribution=-3.99),
        node("embed", "embed", -1, 2, attribution=5.49),
        node("embed", "embed", -1, 3, attribution=2.25),
        node("mlp", "L0MLP", 0, 0, attribution=5.0),
        node("head", "L0H1", 0, 1, 1, attribution=-1.0),
        node("head", "L0H2", 0, 2, 2, attribution=0.01),
        node("mlp", "L0MLP", 0, 3, attribution=-1.0, rest_in=-0.25),
        node("head", "L1H0", 1, 3, 0, attribution=7.0, rest_in=0.5),
        node("mlp", "L1MLP", 1, 3, attribution=4.0),
        node("logit", "logit", 2, 3, attribution=10.0, rest_in=1.0),
    ]
    edges = [
        edge("embed@0", "L0MLP@0", 5.0),
        edge("embed@1", "L0H1@1", -1.0),
        edge("embed@2", "L0H2@2", 3.0),
        edge("embed@1", "L0H2@2", -2.99),
        edge("embed@3", "L0MLP@3", -0.75),
        edge("L0MLP@0", "L1H0@3", 5.0),
        edge("L0H1@1", "L1H0@3", -1.0),
        edge("L0H2@2", "L1H0@3", 0.01),
        edge("embed@2", "L1H0@3", 2.49),
        edge("embed@3", "L1MLP@3", 3.0),
        edge("L0MLP@3", "L1MLP@3", 1.0),
        edge("L1H0@3", "logit@3", 7.0),
        edge("L1MLP@3", "logit@3", 4.0),
        edge("L0MLP@3", "logit@3", -2.0),
    ]
    return document(nodes, edges, TOKENS, **({"n_layers": 2, "n_heads": 3, "value": 10.0} | metadata))
