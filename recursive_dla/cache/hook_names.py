"""Activation names: shorthand such as ``("pattern", 3)`` to TransformerLens's full hook names, and what names mean."""

from __future__ import annotations

import re
from functools import lru_cache

# What the unembedding wrote, by the names it has.
LOGITS = ("unembed.hook_out", "hook_unembed")

_ATTENTION = frozenset({"q", "k", "v", "z", "rot_q", "rot_k", "attn_scores", "pattern", "result"})
_MLP = frozenset({"pre", "mid", "post", "pre_linear"})
_SUBLAYERS = {"a": "attn", "attention": "attn", "m": "mlp", "b": "", "block": "", "blocks": ""}
_ALIASES = {
    "attn": "pattern",
    "attn_logits": "attn_scores",
    "query": "q",
    "key": "k",
    "value": "v",
    "mlp_pre": "pre",
    "mlp_mid": "mid",
    "mlp_post": "post",
}
_NORM_ACTIVATIONS = frozenset({"scale", "normalized"})
_COMPACT = re.compile(r"(?P<name>[a-z_]+?)(?P<layer>\d+)(?P<sublayer>[a-z]?.*)")


@lru_cache(maxsize=65536)
def activation_name(name: str, layer: int | None = None, sublayer: str | None = None) -> str:
    """The full hook name of an activation.

    Args:
        name: ``"pattern"``, ``"resid_post"``, ``"scale"``, … , or compact such as ``"k6"`` or ``"scale4ln1"``, or a
            full name, returned as it is.
        layer: The block it is in, from 0; ``None`` for activations outside the blocks.
        sublayer: ``"attn"``, ``"mlp"``, ``"ln1"`` or ``"ln2"``, where the name alone does not tell.

    Example:
        >>> activation_name("pattern", 3)
        'blocks.3.attn.hook_pattern'
        >>> activation_name("scale")
        'ln_final.hook_scale'
    """
    if layer is None and sublayer is None and ("." in name or name.startswith("hook_")):
        return name
    if compact := _COMPACT.match(name):
        name, layer, sublayer = compact["name"], int(compact["layer"]), compact["sublayer"]
    name = _ALIASES.get(name, name)
    if name in _ATTENTION:
        sublayer = "attn"
    elif name in _MLP:
        sublayer = "mlp"
    else:
        sublayer = _SUBLAYERS.get(sublayer or "", sublayer or "")
    if layer is None and name in _NORM_ACTIVATIONS:
        sublayer = "ln_final" if not sublayer else f"ln_final.{sublayer}"
    prefix = "" if layer is None else f"blocks.{layer}."
    return f"{prefix}{sublayer + '.' if sublayer else ''}hook_{name}"


def without_layer(name: str) -> str:
    """A full name with its block left out: what the activations of all layers have in common.

    Example:
        >>> without_layer("blocks.12.attn.hook_pattern")
        'attn.hook_pattern'
    """
    return name.split(".", 2)[2] if name.startswith("blocks.") else name


def is_second_name(name: str) -> bool:
    """Whether this is one of the further names under which a bridge caches an activation once more."""
    return name.endswith(_SECOND_NAMES)


def is_for_attribution(name: str, neurons: bool = True) -> bool:
    """Whether attribution needs the activation of this full name.

    That is what every component wrote, the residual stream, attention patterns and ``z``, norm scales, rotations and
    how experts were chosen; with ``neurons``, the MLPs' pre-activations too, which their output is a function of.
    """
    name = without_layer(name)
    if name in _FOR_ATTRIBUTION or (neurons and name in _OF_NEURONS):
        return True
    # Scales of the norms of the residual stream, not of those inside the attention.
    return name.endswith(".hook_scale") and name.count(".") == 1


_SECOND_NAMES = (".hook_in", ".hook_out", ".hook_hidden_states")
_FOR_ATTRIBUTION = frozenset(
    {
        "embed.hook_in",
        "hook_embed",
        "hook_pos_embed",
        "hook_resid_pre",
        "hook_resid_mid",
        "hook_resid_post",
        "hook_attn_out",
        "hook_mlp_out",
        "attn.hook_z",
        "attn.hook_pattern",
        "attn.hook_cos",
        "attn.hook_sin",
        "mlp.hook_expert_indices",
    }
)
_OF_NEURONS = frozenset({"mlp.hook_pre", "mlp.hook_pre_linear"})
