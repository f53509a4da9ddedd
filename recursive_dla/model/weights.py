"""One uniform, read-only view of a decoder-only transformer's weights, in the notation of this package.

What differs between architectures is here as data: norms before and after a sublayer or none, grouped-query heads,
gated and plain MLPs, experts, parallel blocks. Nothing here knows where the weights come from
(:mod:`recursive_dla.model.transformer_lens`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, overload

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from recursive_dla.errors import UnsupportedModelError

Part = TypeVar("Part")


@dataclass(frozen=True)
class Norm:
    """``N(x) = weight ⊙ (C x) / scale + bias``; ``C`` subtracts the mean where ``centers`` is set (LayerNorm).

    ``module`` is its place in the model, such as ``blocks.3.ln1``; its scale is cached as ``{module}.hook_scale``.
    """

    module: str
    weight: Float[Tensor, " d_model"] | None
    bias: Float[Tensor, " d_model"] | None
    centers: bool
    eps: float

    @property
    def name(self) -> str:
        """The last part of the module's name: ``ln1``, ``ln2``, ``ln_final``."""
        return self.module.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class HeadNorm:
    """A norm on queries or keys: of each head by itself, or ``joint``, of all heads of a layer as one vector."""

    norm: Norm
    joint: bool


@dataclass(frozen=True)
class Rotary:
    """How positions rotate queries and keys: pairs ``(i, i + half)`` of them, or ``adjacent`` ones.

    ``cos`` and ``sin`` are for positions from 0; ``None`` where the cache has them for the prompt's own positions.
    """

    adjacent: bool
    cos: Float[Tensor, "pos rotary_dim"] | None
    sin: Float[Tensor, "pos rotary_dim"] | None


@dataclass(frozen=True)
class Scores:
    """How queries and keys make attention scores: ``factor · q·k``, squashed by ``soft_cap``, plus ALiBi.

    Grouped-query models keep one ``W_K`` per key-value head. ``alibi_slopes`` times the key's position is what ALiBi
    adds, up to what all keys of a query share.
    """

    W_Q: Float[Tensor, "head d_model d_head"]
    b_Q: Float[Tensor, "head d_head"] | None
    W_K: Float[Tensor, "kv_head d_model d_head"]
    b_K: Float[Tensor, "kv_head d_head"] | None
    q_norm: HeadNorm | None
    k_norm: HeadNorm | None
    rotary: Rotary | None
    factor: float
    soft_cap: float | None
    alibi_slopes: Float[Tensor, " head"] | None


@dataclass(frozen=True)
class Attention:
    """What one layer's heads move, and where they write it. Grouped-query models keep one ``W_V`` per key-value head.

    ``norm`` is the one before the attention, whose output queries and keys read too; ``out_norm`` the one after it,
    where the model has them.
    """

    norm: Norm | None
    out_norm: Norm | None
    W_V: Float[Tensor, "kv_head d_model d_head"]
    b_V: Float[Tensor, "kv_head d_head"] | None
    W_O: Float[Tensor, "head d_head d_model"]
    b_O: Float[Tensor, " d_model"] | None


@dataclass(frozen=True)
class NeuronBank:
    """Neurons ``act(x W_in + b_in)``, or gated ``act(x W_gate + b_gate) ⊙ (x W_in + b_in)``, that write ``W_out``."""

    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, " d_mlp"] | None
    W_gate: Float[Tensor, "d_model d_mlp"] | None
    b_gate: Float[Tensor, " d_mlp"] | None
    W_out: Float[Tensor, "d_mlp d_model"]


@dataclass(frozen=True)
class Router:
    """How much of each expert a position gets: the softmax over all experts, at the ``top_k`` chosen ones.

    ``shared`` gates one more bank, which every position gets, by a sigmoid.
    """

    W: Float[Tensor, "expert d_model"]
    top_k: int
    normalises: bool
    shared: Float[Tensor, " d_model"] | None


@dataclass(frozen=True)
class MLP:
    """One layer's MLP: one bank of neurons, or one per expert with a router."""

    norm: Norm | None
    out_norm: Norm | None
    activation: str
    banks: tuple[NeuronBank, ...]
    router: Router | None
    b_out: Float[Tensor, " d_model"] | None

    @property
    def gated(self) -> bool:
        return self.banks[0].W_gate is not None

    @property
    def neurons(self) -> NeuronBank:
        """The only bank.

        Raises:
            UnsupportedModelError: The MLP has experts.
        """
        if self.router is not None:
            raise UnsupportedModelError("This needs MLPs with one bank of neurons, and this model's have experts.")
        return self.banks[0]


class Layer:
    """One block: attention, then an MLP (``None`` in attention-only models) that reads the stream after it.

    In a ``parallel`` block both read the stream that enters it. Each part is looked up in the model when it is first
    asked for: that may take longer than computing with it, and most computations need few of them.
    """

    def __init__(
        self,
        *,
        parallel: bool,
        find_attention: Callable[[], Attention],
        find_scores: Callable[[], Scores],
        find_mlp: Callable[[], MLP | None],
    ) -> None:
        self.parallel = parallel
        self._find_attention, self._find_scores, self._find_mlp = find_attention, find_scores, find_mlp

    @cached_property
    def attention(self) -> Attention:
        return _kept(self._find_attention)

    @cached_property
    def scores(self) -> Scores:
        return _kept(self._find_scores)

    @cached_property
    def mlp(self) -> MLP | None:
        return _kept(self._find_mlp)


def _kept(find: Callable[[], Part]) -> Part:
    # What is kept must be of use outside the mode that happens to be on.
    with torch.inference_mode(False), torch.no_grad():
        return find()


@dataclass(frozen=True)
class ModelWeights:
    """A model's weights; biases that are absent or all zero are ``None``.

    ``stored_layers`` are in the model's own precision; :attr:`layers` are what to compute with. ``logit_soft_cap`` is
    the value at which the model squashes its logits: what is explained is the logit before that.
    """

    name: str
    stored_layers: tuple[Layer, ...]
    final_norm: Norm | None
    W_E: Float[Tensor, "d_vocab d_model"]
    W_U: Float[Tensor, "d_model d_vocab"]
    b_U: Float[Tensor, " d_vocab"] | None
    has_pos_embed: bool
    logit_soft_cap: float | None

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers; those of half-precision models in float32, each converted when it is taken."""
        return _InFloat32(self.stored_layers) if is_half(self.dtype) else self.stored_layers

    @property
    def n_layers(self) -> int:
        return len(self.stored_layers)

    @property
    def n_heads(self) -> int:
        return self.stored_layers[0].attention.W_O.shape[0]

    @property
    def d_head(self) -> int:
        return self.stored_layers[0].attention.W_O.shape[1]

    @property
    def d_model(self) -> int:
        return self.W_U.shape[0]

    @property
    def d_vocab(self) -> int:
        return self.W_U.shape[1]

    @property
    def has_mlp(self) -> bool:
        return self.stored_layers[0].mlp is not None

    @property
    def dtype(self) -> torch.dtype:
        return self.W_U.dtype

    @property
    def device(self) -> torch.device:
        return self.W_U.device


def per_query_head(per_kv_head: Float[Tensor, "kv_head *rest"], n_heads: int) -> Float[Tensor, "head *rest"]:
    """What heads share, once for each of them."""
    return per_kv_head.repeat_interleave(n_heads // len(per_kv_head), dim=0)


def summed_by_kv_head(
    per_head: Float[Tensor, "*any head d_head"], n_kv_heads: int
) -> Float[Tensor, "*any kv_head d_head"]:
    """What heads read from what they share, together."""
    return rearrange(per_head, "... (kv group) d_head -> ... kv group d_head", kv=n_kv_heads).sum(-2)


def is_half(dtype: torch.dtype) -> bool:
    """Whether a precision is too low to compute with: its values are converted to float32 first."""
    return dtype in (torch.float16, torch.bfloat16)


def tensors_of(weights: Any) -> Iterator[Tensor]:
    """All tensors of a part of this module."""
    if isinstance(weights, Tensor):
        yield weights
    elif isinstance(weights, tuple):
        for part in weights:
            yield from tensors_of(part)
    elif isinstance(weights, Layer):
        yield from tensors_of((weights.attention, weights.scores, weights.mlp))
    elif is_dataclass(weights):
        for field in fields(weights):
            yield from tensors_of(getattr(weights, field.name))


def in_float32(weights: Any) -> Any:
    """A tensor, or all tensors of a part of this module, in float32; of a layer, once they are asked for."""
    if isinstance(weights, Tensor):
        return weights.float()
    if isinstance(weights, tuple):
        return tuple(map(in_float32, weights))
    if isinstance(weights, Layer):
        return Layer(
            parallel=weights.parallel,
            find_attention=lambda: in_float32(weights.attention),
            find_scores=lambda: in_float32(weights.scores),
            find_mlp=lambda: in_float32(weights.mlp),
        )
    if is_dataclass(weights) and not isinstance(weights, type):
        return replace(weights, **{field.name: in_float32(getattr(weights, field.name)) for field in fields(weights)})
    return weights


class _InFloat32(Sequence[Layer]):
    """Layers converted one by one, so that a large model is never held twice."""

    def __init__(self, stored: Sequence[Layer]) -> None:
        self._stored = stored

    @overload
    def __getitem__(self, index: int) -> Layer: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Layer]: ...

    def __getitem__(self, index: int | slice) -> Layer | Sequence[Layer]:
        return _InFloat32(self._stored[index]) if isinstance(index, slice) else in_float32(self._stored[index])

    def __len__(self) -> int:
        return len(self._stored)
