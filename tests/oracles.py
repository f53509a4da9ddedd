"""The numbers of this package once more, by plain loops straight from the formulas and sharing no code with it.

Everything is computed in float64 and one prompt at a time, in the direction of the forward pass: a source is sent
through the frozen model to the logit, where the package pulls the logit's direction back. A frozen norm is
``w (C x) / s`` with ``s`` of the whole stream; a frozen head has its cached pattern; a frozen neuron is its rule's
linear stand-in.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

# --- the model -------------------------------------------------------------------------------------------------------


@dataclass
class PlainNorm:
    """``w (C x) / s + b``, or nothing at all."""

    w: Tensor
    b: Tensor
    centers: bool
    eps: float
    absent: bool = False

    def scale(self, x: Tensor) -> Tensor:
        if self.absent:
            return torch.ones_like(x[..., :1])
        if self.centers:
            return (x.var(-1, unbiased=False, keepdim=True) + self.eps).sqrt()
        return ((x * x).mean(-1, keepdim=True) + self.eps).sqrt()

    def linear(self, x: Tensor, scale: Tensor) -> Tensor:
        if self.absent:
            return x
        if self.centers:
            x = x - x.sum(-1, keepdim=True) / x.shape[-1]
        return self.w * x / scale


@dataclass
class PlainHead:
    W_V: Tensor
    b_V: Tensor
    W_O: Tensor


@dataclass
class PlainBank:
    W_gate: Tensor | None
    b_gate: Tensor
    W_in: Tensor
    b_in: Tensor
    W_out: Tensor


@dataclass
class PlainMLP:
    norm: PlainNorm
    out_norm: PlainNorm
    norm_name: str
    act: str
    banks: list[PlainBank]
    routing: Callable[[Tensor], Tensor]
    b_out: Tensor


@dataclass
class PlainLayer:
    norm: PlainNorm
    out_norm: PlainNorm
    heads: list[PlainHead]
    b_O: Tensor
    mlp: PlainMLP | None
    parallel: bool


@dataclass
class PlainModel:
    layers: list[PlainLayer]
    norm: PlainNorm
    W_U: Tensor
    b_U: Tensor


# Where TransformerLens has another name for it.
ACTIVATIONS = {"BloomForCausalLM": "gelu_bloom", "FalconForCausalLM": "gelu"}


def plain_model(model: Any) -> PlainModel:
    """A TransformerLens model's weights, head by head, with zeros for the biases that it does not have.

    That they are read right shows where :meth:`Frozen.forward` gives the model's own logits.
    """
    cfg = model.cfg
    d_model = model.W_U.shape[0]
    layers = []
    for block in model.blocks:
        attn = block.attn
        W_O = _weight(attn, "W_O")
        n_heads, d_head, _ = W_O.shape
        W_V = _weight(attn, "_W_V", "W_V")
        b_V = _weight(attn, "_b_V", "b_V", shape=(len(W_V), d_head))
        queries_per_value = n_heads // len(W_V)
        heads = [
            PlainHead(W_V[head // queries_per_value], b_V[head // queries_per_value], W_O[head])
            for head in range(n_heads)
        ]
        plain_mlp = None
        if not cfg.attn_only:
            alone = getattr(block, "ln2", None) is None
            plain_mlp = PlainMLP(
                # A parallel block may have one norm for both.
                norm=_norm(block, "ln1" if alone and cfg.parallel_attn_mlp else "ln2", d_model),
                norm_name="ln1" if alone and cfg.parallel_attn_mlp else "ln2",
                out_norm=_norm(block, "ln2_post", d_model),
                act=ACTIVATIONS.get(getattr(cfg, "architecture", None), cfg.act_fn),
                banks=_banks(block.mlp, cfg),
                routing=_routing(model, block.mlp, cfg),
                b_out=_weight(None if cfg.num_experts else block.mlp, "b_out", shape=(d_model,)),
            )
        layers.append(
            PlainLayer(
                norm=_norm(block, "ln1", d_model),
                out_norm=_norm(block, "ln1_post", d_model),
                heads=heads,
                b_O=_weight(attn, "b_O", shape=(d_model,)),
                mlp=plain_mlp,
                parallel=bool(cfg.parallel_attn_mlp),
            )
        )
    W_U = _weight(model, "W_U")
    return PlainModel(layers, _norm(model, "ln_final", d_model), W_U, _weight(model, "b_U", shape=W_U.shape[1:]))


def _weight(module: Any, *names: str, shape: tuple[int, ...] = ()) -> Tensor:
    for name in names:
        value = getattr(module, name, None)
        if value is not None:
            return value.detach().double()
    return torch.zeros(shape, dtype=torch.float64)


@torch.no_grad()
def _norm(parent: Any, name: str, d_model: int) -> PlainNorm:
    """What a norm computes, found by giving it vectors: weights are stored in more than one way."""
    module = getattr(parent, name, None)
    x = torch.randn(1, 1, d_model, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if module is None or torch.equal(out := module(x), x):
        return PlainNorm(torch.ones_like(x[0, 0]), torch.zeros_like(x[0, 0]), centers=False, eps=0.0, absent=True)
    b = module(torch.zeros_like(x))[0, 0]
    centers = torch.allclose(module(x + 7), out)
    centred = x - x.mean() if centers else x
    # Far from zero there is no eps, and close to it there is little else.
    w = ((module(1e7 * x) - b) * centred.pow(2).mean().sqrt() / centred)[0, 0]
    near = 1e-4 * centred
    eps = (w * near / (module(1e-4 * x) - b)).pow(2).median() - near.pow(2).mean()
    return PlainNorm(w, b, centers, float(eps))


def _banks(mlp: Any, cfg: Any) -> list[PlainBank]:
    """One bank of neurons, or one for each expert and then the shared one."""
    if not cfg.num_experts:
        W_in = _weight(mlp, "W_in")
        b_gate, b_in = (_weight(mlp, name, shape=W_in.shape[1:]) for name in ("b_gate", "b_in"))
        return [PlainBank(_weight(mlp, "W_gate") if cfg.gated_mlp else None, b_gate, W_in, b_in, _weight(mlp, "W_out"))]
    weights = _stored(mlp)
    if "experts.gate_up_proj" in weights:
        halves = (gate_up.chunk(2) for gate_up in weights["experts.gate_up_proj"])
        found = [(gate, up, down) for (gate, up), down in zip(halves, weights["experts.down_proj"], strict=True)]
    else:
        parts = ("W_gate", "W_in", "W_out")
        found = [tuple(weights[f"experts.{i}.{part}.weight"] for part in parts) for i in range(cfg.num_experts)]
    if "shared_expert.up_proj.weight" in weights:
        found.append(tuple(weights[f"shared_expert.{part}_proj.weight"] for part in ("gate", "up", "down")))
    zero = torch.zeros(1, dtype=torch.float64)
    return [PlainBank(gate.T, zero, up.T, zero, down.T) for gate, up, down in found]


def _stored(module: Any) -> dict[str, Tensor]:
    """Hugging Face's parameters, without the names that TransformerLens puts between."""
    return {
        name.replace("_original_component.", ""): parameter.detach().double()
        for name, parameter in module.named_parameters()
    }


def _routing(model: Any, mlp: Any, cfg: Any) -> Callable[[Tensor], Tensor]:
    """From normalised streams ``[pos d_model]`` to every bank's share, ``[pos bank]``."""
    if not cfg.num_experts:
        return lambda read: torch.ones(len(read), 1, dtype=torch.float64)
    weights = _stored(mlp)
    router = weights["gate.weight"] if "gate.weight" in weights else weights["W_gate.weight"]
    shared = weights.get("shared_expert_gate.weight")
    # Where the config does not say, the shares of the chosen sum to one.
    normalises = getattr(getattr(model, "original_model", model), "config", cfg)
    normalises = bool(getattr(normalises, "norm_topk_prob", True))

    def shares(read: Tensor) -> Tensor:
        rows = []
        for x in read:
            odds = [math.exp(logit) for logit in (router @ x).tolist()]
            chosen = sorted(range(len(odds)), key=lambda expert: -odds[expert])[: cfg.experts_per_token]
            total = sum(odds[expert] for expert in chosen) if normalises else sum(odds)
            row = [odds[expert] / total if expert in chosen else 0.0 for expert in range(len(odds))]
            rows.append(row if shared is None else [*row, 1 / (1 + math.exp(-float(shared[0] @ x)))])
        return torch.tensor(rows, dtype=torch.float64)

    return shares


# --- activation functions and rules ----------------------------------------------------------------------------------


def act(name: str, x: Tensor) -> Tensor:
    if name == "relu":
        return torch.where(x > 0, x, torch.zeros_like(x))
    if name == "gelu":
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2
    if name in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh"):
        return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))) / 2
    if name == "gelu_bloom":
        return x * (1 + torch.tanh(0.79788456 * (x + 0.044715 * x * x * x))) / 2
    if name in ("silu", "swish"):
        return x / (1 + torch.exp(-x))
    if name == "quick_gelu":
        return x / (1 + torch.exp(-1.702 * x))
    raise NotImplementedError(name)


def act_derivative(name: str, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(act(name, x).sum(), x)[0]


class PlainRule(NamedTuple):
    """``post = gate_slope * gate + up_slope * up + remainder``; in a plain MLP, ``gate`` is all there is."""

    gate_slope: Tensor
    up_slope: Tensor
    remainder: Tensor


def apply_rule(rule: str, name: str, gate: Tensor, up: Tensor | None) -> PlainRule:
    """The rules of docs/rules.md, by division and brute force; ``gate`` must not be zero."""
    zero = torch.zeros_like(gate)
    post = act(name, gate) * (1 if up is None else up)
    if rule == "stop":
        return PlainRule(zero, zero, post)
    if rule == "gradient":
        gate_slope = act_derivative(name, gate) * (1 if up is None else up)
        up_slope = zero if up is None else act(name, gate)
        return PlainRule(gate_slope, up_slope, post - gate_slope * gate - (0 if up is None else up_slope * up))
    if up is None:
        return PlainRule(post / gate, zero, zero)
    if rule == "ratio":
        return PlainRule(post / gate / 2, act(name, gate) / 2, zero)
    if rule == "frozen-gate":
        return PlainRule(zero, act(name, gate), zero)
    if rule == "integrated-gradients":
        return PlainRule(*_integrate_gradients(name, gate, up), zero)
    raise NotImplementedError(rule)


def _integrate_gradients(name: str, gate: Tensor, up: Tensor, intervals: int = 2000) -> tuple[Tensor, Tensor]:
    """``∫₀¹ ∂post/∂gate dt`` and ``∫₀¹ ∂post/∂up dt`` along ``t * (gate, up)``, by Simpson's rule."""
    steps = range(intervals + 1)
    t = torch.tensor([step / intervals for step in steps], dtype=torch.float64)
    weights = [1 if step in (0, intervals) else 4 if step % 2 else 2 for step in steps]
    share = torch.tensor(weights, dtype=torch.float64) / (3 * intervals)
    along = gate[..., None] * t
    by_gate = (act_derivative(name, along) * t * up[..., None]) @ share
    return by_gate, act(name, along) @ share


# --- one frozen forward pass -----------------------------------------------------------------------------------------


class Frozen:
    """A plain model with everything that is not linear in its residual stream frozen as one cached prompt has it."""

    def __init__(self, model: Any, cache: Any, prompt: int = 0, rule: str = "ratio") -> None:
        self.model = plain_model(model)
        prompts = len(cache["hook_embed"])
        self.cached = {name: tensor[prompt].double() for name, tensor in cache.items() if len(tensor) == prompts}
        layers = self.model.layers
        self.n_layers, self.n_heads, self.n_pos = len(layers), len(layers[0].heads), len(self.cached["hook_embed"])
        self.has_pos_embed = "hook_pos_embed" in self.cached
        self.scale = self.model.norm.scale(self.block(self.n_layers - 1, "hook_resid_post"))
        self.pattern = [self.block(at, "attn.hook_pattern") for at in range(self.n_layers)]
        self.scale1, self.out_scale1, self.scale2, self.out_scale2 = [], [], [], []
        self.rules: list[list[PlainRule]] = []
        self.posts: list[list[Tensor]] = []
        for at, layer in enumerate(layers):
            self.scale1.append(layer.norm.scale(self.block(at, "hook_resid_pre")))
            results = [self.block(at, "attn.hook_z")[:, head] @ each.W_O for head, each in enumerate(layer.heads)]
            self.out_scale1.append(layer.out_norm.scale(sum(results) + layer.b_O))
            if layer.mlp is not None:
                self._freeze_mlp(layer.mlp, self.block(at, f"hook_resid_{'pre' if layer.parallel else 'mid'}"), rule)

    def _freeze_mlp(self, mlp: PlainMLP, stream: Tensor, rule: str) -> None:
        self.scale2.append(mlp.norm.scale(stream))
        read = mlp.norm.linear(stream, self.scale2[-1]) + mlp.norm.b
        shares = mlp.routing(read)
        written: Any = mlp.b_out
        self.rules.append([])
        self.posts.append([])
        for bank, share in zip(mlp.banks, shares.T, strict=True):
            up = read @ bank.W_in + bank.b_in
            gate = up if bank.W_gate is None else read @ bank.W_gate + bank.b_gate
            found = apply_rule(rule, mlp.act, gate, None if bank.W_gate is None else up)
            self.rules[-1].append(PlainRule(*(share[:, None] * part for part in found)))
            post = act(mlp.act, gate) * (1 if bank.W_gate is None else up)
            self.posts[-1].append(share[:, None] * post)
            written = written + self.posts[-1][-1] @ bank.W_out
        self.out_scale2.append(mlp.out_norm.scale(written))

    def block(self, layer: int, name: str) -> Tensor:
        return self.cached[f"blocks.{layer}.{name}"]

    def components(self, split_heads: bool = True) -> list[str]:
        """Labels in writing order."""
        labels = ["embed", "pos_embed"] if self.has_pos_embed else ["embed"]
        for at, layer in enumerate(self.model.layers):
            if split_heads:
                labels += [f"L{at}H{head}" for head in range(self.n_heads)]
                labels += [f"{at}_b_O"] if layer.b_O.any() else []
            else:
                labels.append(f"{at}_attn_out")
            labels += [f"{at}_mlp_out"] if layer.mlp is not None else []
        return labels

    def output(self, label: str) -> Tensor:
        """What a component wrote, as cached: ``[pos d_model]``."""
        if label.endswith("embed"):
            return self.cached[f"hook_{label}"]
        at, part = place_of(label)
        layer = self.model.layers[at]
        if part.startswith("N"):
            bank, neuron = neuron_place(part)
            rows = self.posts[at][bank][:, neuron, None] * layer.mlp.banks[bank].W_out[neuron]
            return layer.mlp.out_norm.linear(rows, self.out_scale2[at])
        if part.startswith("H"):
            head = int(part[1:])
            result = self.block(at, "attn.hook_z")[:, head] @ layer.heads[head].W_O
            return layer.out_norm.linear(result, self.out_scale1[at])
        if part == "b_O":
            return layer.out_norm.linear(torch.stack([layer.b_O] * self.n_pos), self.out_scale1[at])
        return self.block(at, f"hook_{part}")

    def before(self, labels: list[str], dest: str) -> list[str]:
        """The components written before ``dest``, a label or ``logit``, reads; a layer's heads read at once."""
        if dest == "logit":
            return labels
        at, part = place_of(dest)
        reads_attention = part == "mlp_out" and not self.model.layers[at].parallel

        def earlier(label: str) -> bool:
            if label.endswith("embed"):
                return True
            source, written = place_of(label)
            return source < at or (source == at and reads_attention and written != "mlp_out")

        return [label for label in labels if earlier(label)]

    def through_head(self, layer: int, head: int, x: Tensor, key: int | slice, query: int) -> Tensor:
        """What a head writes at a query per unit of attention on a key with the stream ``x``, without constants."""
        weights = self.model.layers[layer]
        read = weights.norm.linear(x, self.scale1[layer][key])
        result = read @ weights.heads[head].W_V @ weights.heads[head].W_O
        return weights.out_norm.linear(result, self.out_scale1[layer][query])

    def through_mlp(self, layer: int, x: Tensor, pos: int, only: tuple[int, int] | None = None) -> Tensor:
        """What an MLP writes where the stream is ``x``, without constants; or one neuron of one of its banks."""
        mlp = self.model.layers[layer].mlp
        return self._from_normalised(layer, mlp.norm.linear(x, self.scale2[layer][pos]), pos, only)

    def _from_normalised(self, layer: int, read: Tensor, pos: int, only: tuple[int, int] | None = None) -> Tensor:
        mlp = self.model.layers[layer].mlp
        written = []
        for place, (bank, rule) in enumerate(zip(mlp.banks, self.rules[layer], strict=True)):
            gate = read @ (bank.W_in if bank.W_gate is None else bank.W_gate)
            post = rule.gate_slope[pos] * gate + rule.up_slope[pos] * (read @ bank.W_in)
            if only is not None:
                chosen = torch.zeros_like(post)
                if only[0] == place:
                    chosen[..., only[1]] = 1
                post = post * chosen
            written.append(post @ bank.W_out)
        return mlp.out_norm.linear(sum(written), self.out_scale2[layer][pos])

    def head_constants(self, layer: int, head: int, query: int) -> dict[str, Tensor]:
        """What a head writes for each unit of attention whatever it attends to."""
        weights = self.model.layers[layer]
        each = weights.heads[head]
        results = {"b_V": each.b_V @ each.W_O, "ln1.b": weights.norm.b @ each.W_V @ each.W_O}
        return {name: weights.out_norm.linear(part, self.out_scale1[layer][query]) for name, part in results.items()}

    def mlp_constants(self, layer: int, pos: int, only: tuple[int, int] | None = None) -> dict[str, Tensor]:
        """What an MLP writes whatever it reads; or one neuron of one of its banks."""
        mlp = self.model.layers[layer].mlp
        parts: dict[str, Tensor] = defaultdict(lambda: torch.zeros_like(mlp.b_out))
        parts["b_out"] = mlp.b_out if only is None else 0 * mlp.b_out
        for place, (bank, rule) in enumerate(zip(mlp.banks, self.rules[layer], strict=True)):
            by_gate, by_up = rule.gate_slope[pos] * bank.b_gate, rule.up_slope[pos] * bank.b_in
            if bank.W_gate is None:
                by_gate, by_up = 0 * by_up, rule.gate_slope[pos] * bank.b_in
            chosen = torch.ones(len(bank.W_out), dtype=torch.float64)
            if only is not None:
                chosen = torch.zeros_like(chosen)
                if only[0] == place:
                    chosen[only[1]] = 1
            parts["b_gate"] = parts["b_gate"] + (chosen * by_gate) @ bank.W_out
            parts["b_in"] = parts["b_in"] + (chosen * by_up) @ bank.W_out
            parts["remainder"] = parts["remainder"] + (chosen * rule.remainder[pos]) @ bank.W_out
        constants = {name: mlp.out_norm.linear(part, self.out_scale2[layer][pos]) for name, part in parts.items()}
        return {**constants, f"{mlp.norm_name}.b": self._from_normalised(layer, mlp.norm.b, pos, only)}

    def direction(self, answer: int, wrong: int | None = None) -> Tensor:
        W_U = self.model.W_U
        return W_U[:, answer] - (0 if wrong is None else W_U[:, wrong])

    def to_logit(self, x: Tensor, u: Tensor, pos: int) -> float:
        """Direct logit attribution: what ``x``, written at ``pos``, adds to the logit."""
        return float(self.model.norm.linear(x, self.scale[pos]) @ u)

    def logit_constants(self, u: Tensor, answer: int, wrong: int | None = None) -> dict[str, float]:
        b_U = self.model.b_U
        return {
            "ln_final.b": float(self.model.norm.b @ u),
            "b_U": float(b_U[answer] - (0 if wrong is None else b_U[wrong])),
        }

    def forward(
        self, u: Tensor, pos: int, removed: tuple[str, int, str, int] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The logit of ``u`` at ``pos`` without its own constants, and what each component wrote, differentiable.

        ``removed`` is ``(source, source position, destination, destination position)``: the destination reads the
        stream as if the source had not written, and nothing else changes.
        """
        source, source_pos, dest, dest_pos = removed or ("", -1, "", -1)
        written: dict[str, Tensor] = {}

        def read(label: str) -> Tensor:
            return sum(written[earlier] for earlier in self.before(list(written), label))

        def without_removed(label: str, at: int, stream: Tensor) -> Tensor:
            """The stream as one destination at one position reads it."""
            if (dest, dest_pos) != (label, at):
                return stream
            stream = stream.clone()
            stream[source_pos] -= written[source][source_pos].detach()
            return stream

        def write(label: str, x: Tensor) -> None:
            written[label] = x if x.requires_grad else x.clone().requires_grad_()
            written[label].retain_grad()

        for label in self.components():
            if label.endswith(("embed", "b_O")):
                write(label, self.output(label))
                continue
            (at, part), stream, rows = place_of(label), read(label), []
            for query in range(self.n_pos):
                seen = without_removed(label, query, stream)
                if part == "mlp_out":
                    constants = sum(self.mlp_constants(at, query).values())
                    rows.append(self.through_mlp(at, seen[query], query) + constants)
                else:
                    constants = sum(self.head_constants(at, int(part[1:]), query).values())
                    results = self.through_head(at, int(part[1:]), seen, slice(None), query) + constants
                    rows.append(self.pattern[at][int(part[1:]), query] @ results)
            write(label, torch.stack(rows))
        seen = without_removed("logit", pos, read("logit"))
        return self.model.norm.linear(seen[pos], self.scale[pos]) @ u, written


def place_of(label: str) -> tuple[int, str]:
    """``L2H1`` is head 1 (``H1``) of layer 2; ``2_mlp_out`` is its ``mlp_out``."""
    if label.startswith("L"):
        layer, head = label[1:].split("H")
        return int(layer), f"H{head}"
    layer, part = label.split("_", 1)
    return int(layer), part


def neuron_place(part: str) -> tuple[int, int]:
    """``N2.5`` is neuron 5 of bank 2."""
    bank, neuron = part[1:].split(".")
    return int(bank), int(neuron)


# --- direct attributions and breakdowns ------------------------------------------------------------------------------


def logit_attributions(frozen: Frozen, u: Tensor, pos: int, split_heads: bool = False) -> dict[str, float]:
    return {label: frozen.to_logit(frozen.output(label)[pos], u, pos) for label in frozen.components(split_heads)}


def head_breakdown(frozen: Frozen, u: Tensor, pos: int, split_heads: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """``[layer head src_pos src_comp]``, and constants by name, ``[layer head]`` each."""
    labels = frozen.components(split_heads)
    outputs = [frozen.output(label) for label in labels]
    grid = (frozen.n_layers, frozen.n_heads)
    values = torch.zeros(*grid, frozen.n_pos, len(labels), dtype=torch.float64)
    constants: dict[str, Tensor] = defaultdict(lambda: torch.zeros(grid, dtype=torch.float64))
    for layer in range(frozen.n_layers):
        for head in range(frozen.n_heads):
            sources = frozen.before(labels, f"L{layer}H{head}")
            for key in range(pos + 1):
                attention = frozen.pattern[layer][head, pos, key]
                for place in range(len(sources)):
                    result = attention * frozen.through_head(layer, head, outputs[place][key], key, pos)
                    values[layer, head, key, place] = frozen.to_logit(result, u, pos)
                for name, written in frozen.head_constants(layer, head, pos).items():
                    constants[name][layer, head] += frozen.to_logit(attention * written, u, pos)
    return values, constants


def mlp_breakdown(frozen: Frozen, u: Tensor, pos: int, split_heads: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """``[layer src_comp]``, and constants by name, ``[layer]`` each."""
    labels = frozen.components(split_heads)
    outputs = [frozen.output(label) for label in labels]
    values = torch.zeros(frozen.n_layers, len(labels), dtype=torch.float64)
    constants: dict[str, Tensor] = defaultdict(lambda: torch.zeros(frozen.n_layers, dtype=torch.float64))
    for layer in range(frozen.n_layers):
        for place in range(len(frozen.before(labels, f"{layer}_mlp_out"))):
            result = frozen.through_mlp(layer, outputs[place][pos], pos)
            values[layer, place] = frozen.to_logit(result, u, pos)
        for name, written in frozen.mlp_constants(layer, pos).items():
            constants[name][layer] = frozen.to_logit(written, u, pos)
    return values, constants


# --- the complete graph ----------------------------------------------------------------------------------------------

Edges = dict[tuple[str, str], float]


def graph_edges(frozen: Frozen, answer: int, wrong: int | None, pos: int) -> Edges:
    """Every edge's weight, by following every single path from the logit down to the embeddings."""
    u = frozen.direction(answer, wrong)
    labels = frozen.components()
    outputs = {label: frozen.output(label).numpy() for label in labels}
    maps = _Maps(frozen)
    edges: Edges = defaultdict(float)

    def follow(dest: str, at: int, direction: np.ndarray, reader: str) -> None:
        """Add what one more path brings to the in-edges of ``dest``, whose output ``direction`` reads, and go on."""
        for name, constant in maps.constants(dest, at):
            edges[f"{name}@{at}", reader] += float(constant @ direction)
        for source_pos, linear in maps.reads(dest, at):
            reads = direction @ linear.T
            for source in frozen.before(labels, dest):
                edges[f"{node_name(source)}@{source_pos}", reader] += float(reads @ outputs[source][source_pos])
                if not source.endswith(("embed", "b_O")):
                    follow(source, source_pos, reads, f"{node_name(source)}@{source_pos}")

    follow("logit", pos, u.numpy(), f"logit@{pos}")
    for name, constant in frozen.logit_constants(u, answer, wrong).items():
        edges[f"{name}@{pos}", f"logit@{pos}"] = constant
    return {ends: weight for ends, weight in edges.items() if weight != 0}


# --- paths -----------------------------------------------------------------------------------------------------------

Path = tuple[tuple[str, int], ...]


def path_weights(frozen: Frozen, u: Tensor, paths: Iterable[Path]) -> list[float]:
    """What flows along each path: a chain of ``(label, position)`` that starts with the logit.

    The last may be the name of a constant of the one before it. The matrix of every component on the way is multiplied
    into the direction, one after the other.
    """
    maps = _Maps(frozen)
    found = []
    for path in paths:
        direction = u.numpy()
        for (dest, at), (_, source_pos) in pairwise(path[:-1]):
            direction = direction @ dict(maps.reads(dest, at))[source_pos].T
        (dest, at), (leaf, leaf_pos) = path[-2:]
        constants = dict(maps.constants(dest, at))
        if leaf in constants:
            found.append(float(constants[leaf] @ direction))
        else:
            direction = direction @ dict(maps.reads(dest, at))[leaf_pos].T
            found.append(float(frozen.output(leaf)[leaf_pos].numpy() @ direction))
    return found


class _Maps:
    """Each component as the matrices that take what it reads to what it writes, position by position."""

    def __init__(self, frozen: Frozen) -> None:
        self.frozen = frozen
        self.identity = torch.eye(len(frozen.model.W_U), dtype=torch.float64)
        self.known: dict[tuple[str, int], list[tuple[int, np.ndarray]]] = {}

    def reads(self, dest: str, at: int) -> list[tuple[int, np.ndarray]]:
        if (dest, at) not in self.known:
            self.known[dest, at] = [(pos, linear.numpy()) for pos, linear in self._reads(dest, at)]
        return self.known[dest, at]

    def _reads(self, dest: str, at: int) -> Iterator[tuple[int, Tensor]]:
        frozen = self.frozen
        if dest == "logit":
            yield at, frozen.model.norm.linear(self.identity, frozen.scale[at])
            return
        layer, part = place_of(dest)
        if part == "mlp_out":
            yield at, frozen.through_mlp(layer, self.identity, at)
            return
        if part.startswith("N"):
            yield at, frozen.through_mlp(layer, self.identity, at, neuron_place(part))
            return
        heads = range(frozen.n_heads) if part == "attn_out" else [int(part[1:])]
        for key in range(at + 1):
            pattern = frozen.pattern[layer][:, at, key]
            yield key, sum(pattern[head] * frozen.through_head(layer, head, self.identity, key, at) for head in heads)

    def constants(self, dest: str, at: int) -> Iterator[tuple[str, np.ndarray]]:
        if dest == "logit":
            return
        layer, part = place_of(dest)
        if part == "mlp_out":
            constants = self.frozen.mlp_constants(layer, at)
        elif part.startswith("N"):
            constants = self.frozen.mlp_constants(layer, at, neuron_place(part))
        else:
            constants = defaultdict(lambda: torch.zeros_like(self.identity[0]))
            for head in range(self.frozen.n_heads) if part == "attn_out" else [int(part[1:])]:
                attended = self.frozen.pattern[layer][head, at].sum()
                for name, each in self.frozen.head_constants(layer, head, at).items():
                    constants[name] = constants[name] + attended * each
            if part == "attn_out":
                constants["b_O"] = self.frozen.output(f"{layer}_b_O")[at]
        for name, constant in constants.items():
            yield f"L{layer}.{name}", constant.numpy()


def node_name(label: str) -> str:
    """A component's label in a graph's ids."""
    if label.endswith(("mlp_out", "b_O")):
        layer, part = place_of(label)
        return f"L{layer}MLP" if part == "mlp_out" else f"L{layer}.b_O"
    return label


# --- comparing -------------------------------------------------------------------------------------------------------


def assert_close(actual: Any, expected: Any, relative: float = 1e-10) -> None:
    """Equal shapes, and numbers equal to ``relative`` of the largest; an all-zero expectation would prove nothing."""
    actual, expected = (
        (numbers if isinstance(numbers, Tensor) else torch.tensor(numbers, dtype=torch.float64)).double()
        for numbers in (actual, expected)
    )
    assert actual.shape == expected.shape
    largest = expected.abs().max().item()
    assert largest > 0
    assert (actual - expected).abs().max().item() <= relative * largest
