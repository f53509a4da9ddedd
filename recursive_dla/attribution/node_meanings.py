"""What the nodes of graphs and trees stand for, and what they are called."""

from __future__ import annotations

from typing import NamedTuple

from recursive_dla.attribution.components import Component


class Meaning(NamedTuple):
    """What a node stands for, at whatever position.

    ``name`` is the part of its id before the position, such as ``L23H3``, ``L0MLP`` or ``L3.b_O``; ``component`` the
    label that the cache's methods use. ``kind`` is ``logit``, ``head``, ``attn``, ``mlp``, ``neuron``, ``embed``,
    ``pos_embed``, ``bias``, ``remainder`` or ``rest``.
    """

    name: str
    kind: str
    component: str
    layer: int
    head: int


def component_meaning(component: Component) -> Meaning:
    """Of what writes into the residual stream."""
    label, kind, layer, head = component
    names = {"mlp": f"L{layer}MLP", "attn": f"L{layer}Attn", "bias": f"L{layer}.b_O"}
    return Meaning(names.get(kind, label), kind, label, layer, head)


def root_meaning(name: str, n_layers: int) -> Meaning:
    """Of what is explained."""
    return Meaning(name, "logit", name, n_layers, -1)


def constant_meaning(name: str, layer: int, n_layers: int) -> Meaning:
    """Of the share of a bias, or of what a rule leaves over: a layer's, or at ``n_layers`` the target's own."""
    of_target = layer == n_layers
    return Meaning(
        name=name if of_target else f"L{layer}.{name}",
        kind="remainder" if name == "remainder" else "bias",
        component=name if of_target else f"{layer}_{name}",
        layer=layer,
        head=-1,
    )
