"""One level of recursion: each head's and each MLP's contribution to a logit, broken down by what it read.

The direction that reads the answer is pulled back through the final norm, through every head's OV circuit or every MLP,
and through that layer's norm, before anything is contracted; then one einsum with the stack of component outputs, the
attention pattern and the reciprocal norm scale gives all numbers at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache import ActivationCache, as_cache
from recursive_dla.checks import ensure_checked
from recursive_dla.components import Components, head_components, layer_components
from recursive_dla.errors import InputError
from recursive_dla.linear import linearise_mlp, pull_back_mlp, pull_back_norm
from recursive_dla.rules import DEFAULT_RULE, rule_named
from recursive_dla.targets import Answers, Positions, Target, logit_target
from recursive_dla.writers import component_outputs


@dataclass(frozen=True)
class Breakdown:
    """Numbers broken down by source. ``values`` summed over its source axes, plus the constants, is ``totals``.

    Attributes:
        values: One axis for each of ``axes``; logits, positive raises the answer.
        axes: The name and the labels of each axis, in order.
        totals: What is explained, on the axes that are not sources.
        constants: By name, on the same axes as ``totals``: shares of biases, and what the MLP rule left over.
        target: The answers and where they are read.
    """

    values: Tensor
    axes: dict[str, tuple[str, ...]]
    totals: Tensor
    constants: dict[str, Tensor]
    target: Target

    @property
    def completeness_error(self) -> float:
        """The largest ``|Σ sources + constants − total|``, relative to the largest total."""
        explained = self._explained()
        return float((explained - self.totals).abs().max() / self.totals.abs().max().clamp_min(torch.finfo().tiny))

    def _explained(self) -> Tensor:
        sources = tuple(range(self.totals.ndim, self.values.ndim))
        return self.values.sum(sources) + sum(self.constants.values())

    def strongest(self, token: int = 0, prompt: int = 0, *, count: int = 5, sources: int = 3) -> list[Strongest]:
        """The destinations with the largest totals, each with its largest sources; sizes are absolute."""
        totals, values = self.totals[token, prompt], self.values[token, prompt]
        names = list(self.axes)
        dest_axes, source_axes = names[2 : self.totals.ndim], names[self.totals.ndim :]
        found = []
        for place in _largest(totals, count):
            here = values[place]
            found.append(
                Strongest(
                    label="".join(self.axes[name][i] for name, i in zip(dest_axes, place, strict=True)),
                    total=float(totals[place]),
                    sources=tuple(
                        ({name: self.axes[name][i] for name, i in zip(source_axes, at, strict=True)}, float(here[at]))
                        for at in _largest(here, sources)
                    ),
                )
            )
        return found

    def __str__(self) -> str:
        shape = " ".join(f"{name}={len(labels)}" for name, labels in self.axes.items())
        lines = [f"Breakdown [{shape}], completeness error {self.completeness_error:.1e}"]
        for prompt, token in itertools.product(range(self.totals.shape[1]), range(self.totals.shape[0])):
            value = float(self.target.value[prompt, token])
            lines.append(f"prompt {prompt}, {self.axes['token'][token]}: {value:+.3f} logits; strongest:")
            for found in self.strongest(token, prompt, sources=1):
                source, part = found.sources[0]
                where = f" at {source['src_pos']}" if "src_pos" in source else ""
                lines.append(
                    f"  {found.label:8} {found.total:+.3f}, of which {part:+.3f} from {source['src_comp']}{where}"
                )
        return "\n".join(lines)


class Strongest(NamedTuple):
    """A destination, what it contributes, and its largest sources: labels by axis, and the part each has in it."""

    label: str
    total: float
    sources: tuple[tuple[dict[str, str], float], ...]


def _largest(numbers: Tensor, count: int) -> list[tuple[int, ...]]:
    flat = numbers.flatten().abs().topk(min(count, numbers.numel())).indices
    return [tuple(place) for place in torch.stack(torch.unravel_index(flat, numbers.shape), dim=1).tolist()]


@torch.no_grad()
def break_down(
    cache: Any,
    model: Any,
    answers: Answers,
    dest: str = "heads",
    *,
    wrong_answers: Answers | None = None,
    pos: Positions = None,
    sources: str = "layers",
    rule: str = DEFAULT_RULE,
    check: bool = True,
) -> Breakdown:
    """Break every head's, or every MLP's, direct contribution to the answer down by what it read.

    For head ``h`` of layer ``l`` at the target position ``q``, with patterns and norm scales as cached,

        g · result_lh[q] = Σ_k Σ_c A_lh[q, k] v_lh · o_c[k] / s_l[k] + constants ,   v_lh = w ⊙ (W_V W_O g) ,

    over source positions ``k`` and the components ``c`` written before layer ``l``. MLPs read their own position only,
    and are made linear by ``rule``.

    Args:
        cache: The activations of the prompts: ours, or TransformerLens's own.
        model: The model that made them.
        answers: What to explain: a string or a token id, a list of them or a tensor ``[token]`` (the same for every
            prompt), or a tensor or nested list ``[batch, token]``.
        dest: What to break down: ``"heads"`` or ``"mlps"``.
        wrong_answers: In the same form; explains ``answers − wrong_answers``, the logit difference.
        pos: The position whose logits are explained, or one per prompt; the last by default, which is wrong for
            prompts padded on the right.
        sources: ``"layers"`` for ``embed``, ``0_attn_out``, ``0_mlp_out``, …; ``"heads"`` for single heads.
        rule: How MLPs are made linear: see :mod:`recursive_dla.rules`.
        check: Whether to verify the cache first: see :func:`recursive_dla.checks.check`.

    Returns:
        ``values`` is ``[token batch dest_l dest_h src_pos src_comp]`` for heads and ``[token batch dest_l src_comp]``
        for MLPs. Sources that are written later than the destination reads are zero.

    Raises:
        InputError: Answers or positions that do not fit, an unknown ``dest`` or rule.
        CacheError: The cache lacks activations, or does not fit the model.
        UnsupportedModelError: The model has a part that is not handled.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", sections on the residual stream and
    OV circuits (their ``W_OV h`` terms); ``A``, ``W_V``, ``W_O`` as there, norms kept.

    Example:
        >>> breakdown = break_down(cache, model, " Mary", wrong_answers=" John")
        >>> breakdown.values.shape
        torch.Size([1, 1, 30, 9, 15, 61])
        >>> round(float(breakdown.totals[0, 0, 23, 3]), 3)
        2.078
    """
    if dest not in _DESTINATIONS:
        raise InputError(f"`dest` must be one of {', '.join(map(repr, _DESTINATIONS))}. Got {dest!r}.")
    if sources not in _SOURCES:
        raise InputError(f"`sources` must be one of {', '.join(map(repr, _SOURCES))}. Got {sources!r}.")
    rule_named(rule)
    cache = as_cache(cache, model)
    target = logit_target(cache, answers, wrong_answers=wrong_answers, pos=pos)
    if check:
        ensure_checked(cache)
    components = _SOURCES[sources](cache.weights)
    return _DESTINATIONS[dest](cache, target, components, rule)


def dla_attn_head_breakdown_source_component(
    cache: Any, model: Any, answers: Answers, *, wrong_answers: Answers | None = None, pos: Positions = None
) -> Float[Tensor, "token batch dest_l dest_h src_pos src_comp"]:
    """Each head's contribution to each answer, by source position and source component.

    The values of :func:`break_down` for ``dest="heads"``, with the same arguments. Summed over ``src_pos`` and
    ``src_comp`` they are the heads' direct logit attributions less the constants, which ``break_down`` names.

    Example:
        >>> dla_attn_head_breakdown_source_component(cache, model, " Mary").shape
        torch.Size([1, 1, 30, 9, 15, 61])
    """
    return break_down(cache, model, answers, "heads", wrong_answers=wrong_answers, pos=pos).values


def dla_mlp_breakdown_source_component(
    cache: Any, model: Any, answers: Answers, *, wrong_answers: Answers | None = None, pos: Positions = None
) -> Float[Tensor, "token batch dest_l src_comp"]:
    """Each MLP's contribution to each answer, by source component at the same position.

    The values of :func:`break_down` for ``dest="mlps"``, with the same arguments and the default rule.

    Example:
        >>> dla_mlp_breakdown_source_component(cache, model, " Mary").shape
        torch.Size([1, 1, 30, 61])
    """
    return break_down(cache, model, answers, "mlps", wrong_answers=wrong_answers, pos=pos).values


def _break_down_heads(cache: ActivationCache, target: Target, components: Components, rule: str) -> Breakdown:
    weights = cache.weights
    layers = range(weights.n_layers)
    prompts = torch.arange(len(target.pos), device=target.direction.device)
    directions, totals = [], []
    constants: dict[str, list[Tensor]] = {}
    for index, layer in enumerate(weights.layers):
        attention = layer.attention
        group = weights.n_heads // attention.W_V.shape[0]
        at_z = einsum(target.direction, attention.W_O, "b token d_model, head d_head d_model -> token b head d_head")
        z = cache.batched("z", index)[prompts, target.pos]
        totals.append(einsum(at_z, z, "token b head d_head, b head d_head -> token b head"))
        at_value = rearrange(at_z, "token b (kv group) d_head -> token b kv group d_head", group=group)
        pulled = einsum(at_value, attention.W_V, "token b kv g d_head, kv d_model d_head -> token b kv g d_model")
        pulled = rearrange(pulled, "token b kv g d_model -> token b (kv g) d_model")
        directions.append(pull_back_norm(pulled, attention.norm))
        attended = cache.batched("pattern", index)[prompts, :, target.pos].sum(-1)
        if attention.norm.bias is not None:
            constants.setdefault("ln1.b", []).append(attended * (pulled @ attention.norm.bias))
        if attention.b_V is not None:
            b_V = repeat(attention.b_V, "kv d_head -> (kv group) d_head", group=group)
            constants.setdefault("b_V", []).append(attended * (at_z * b_V).sum(-1))
    pattern = torch.stack([cache.batched("pattern", index)[prompts, :, target.pos] for index in layers])
    scale = torch.stack([cache.batched("scale", index, "ln1")[..., 0] for index in layers])
    # The large contraction comes before pattern and scale, which only weight its results: the other way round it would
    # need a [head, src_pos, d_model] tensor.
    values = _contract_prefixes(
        "token b layer head d_model, src_comp b src_pos d_model -> token b layer head src_pos src_comp",
        torch.stack(directions, dim=2),
        component_outputs(cache, components),
        components.before_attention,
    )
    values *= rearrange(pattern, "layer b head src_pos -> b layer head src_pos 1")
    values /= rearrange(scale, "layer b src_pos -> b layer 1 src_pos 1")
    return Breakdown(
        values=values,
        axes={
            "token": target.labels,
            "batch": tuple(map(str, range(len(prompts)))),
            "dest_l": tuple(f"L{index}" for index in layers),
            "dest_h": tuple(f"H{head}" for head in range(weights.n_heads)),
            "src_pos": tuple(map(str, range(pattern.shape[-1]))),
            "src_comp": components.labels,
        },
        totals=torch.stack(totals, dim=2),
        constants={name: torch.stack(parts, dim=2) for name, parts in constants.items()},
        target=target,
    )


def _break_down_mlps(cache: ActivationCache, target: Target, components: Components, rule: str) -> Breakdown:
    weights = cache.weights
    if not weights.has_mlp:
        raise InputError(f"Model {weights.name} has only attention, so there are no MLPs to break down.")
    layers = range(weights.n_layers)
    prompts = torch.arange(len(target.pos), device=target.direction.device)
    directions, totals = [], []
    constants: dict[str, list[Tensor]] = {}
    for index, layer in enumerate(weights.layers):
        mlp = layer.mlp
        assert mlp is not None
        pre = cache.batched("pre", index)[prompts, target.pos]
        gated = mlp.W_gate is not None
        pre_linear = cache.batched("pre_linear", index)[prompts, target.pos] if gated else None
        neurons = linearise_mlp(mlp, rule_named(rule), pre, pre_linear)
        # Tokens lead, so that the neurons' [batch d_mlp] broadcasts.
        direction = rearrange(target.direction, "b token d_model -> token b d_model")
        pulled, parts = pull_back_mlp(direction, mlp, neurons)
        scale = cache.batched("scale", index, "ln2")[prompts, target.pos]
        directions.append(pull_back_norm(pulled, mlp.norm) / scale)
        totals.append((direction * cache.batched("mlp_out", index)[prompts, target.pos]).sum(-1))
        for name, part in parts.items():
            constants.setdefault(name, []).append(part)
    values = _contract_prefixes(
        "token b layer d_model, src_comp b d_model -> token b layer src_comp",
        torch.stack(directions, dim=2),
        component_outputs(cache, components)[:, prompts, target.pos],
        components.before_mlp,
    )
    return Breakdown(
        values=values,
        axes={
            "token": target.labels,
            "batch": tuple(map(str, range(len(prompts)))),
            "dest_l": tuple(f"L{index}MLP" for index in layers),
            "src_comp": components.labels,
        },
        totals=torch.stack(totals, dim=2),
        constants={name: torch.stack(parts, dim=2) for name, parts in constants.items()},
        target=target,
    )


def _contract_prefixes(
    pattern: str, directions: Tensor, outputs: Tensor, before: tuple[int, ...], layers_at_once: int = 5
) -> Tensor:
    """Every layer's directions (axis 2) with the outputs written before that layer; the other sources are zero.

    A few layers go together, with the sources of the last of them: fewer wasted products than all layers at once, and
    larger ones than layer by layer.
    """
    blocks = []
    for start in range(0, len(before), layers_at_once):
        counts = torch.tensor(before[start : start + layers_at_once], device=outputs.device)
        n_sources = int(counts[-1])
        block = einsum(directions[:, :, start : start + layers_at_once], outputs[:n_sources], pattern)
        written = torch.arange(n_sources, device=outputs.device) < counts[:, None]
        written = written.view(len(counts), *[1] * (block.ndim - 4), n_sources)
        blocks.append(torch.nn.functional.pad(block * written, (0, len(outputs) - n_sources)))
    return torch.cat(blocks, dim=2)


_DESTINATIONS: dict[str, Callable[[ActivationCache, Target, Components, str], Breakdown]] = {
    "heads": _break_down_heads,
    "mlps": _break_down_mlps,
}
_SOURCES = {"layers": layer_components, "heads": head_components}
