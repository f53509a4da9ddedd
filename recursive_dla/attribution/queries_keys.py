"""Queries and keys made again from the residual stream, each a linear function of it once its norms are frozen.

A head's score of a key for a query is ``factor · q·k``, where ``q = R (n(N(x) W_Q + b_Q))`` at the query's position and
likewise ``k`` at the key's: ``N`` the norm before the attention, ``n`` the norm on queries or keys that some models
have, ``R`` the rotation of rotary embeddings. What squashes the score (a soft cap) or is added to it (ALiBi, a mask)
comes after. Nothing but the stream, norm scales and rotations is taken from the cache, so a lean one will do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from recursive_dla.cache.activations import Activations
from recursive_dla.cache.norms import norm_output, pull_back_norm
from recursive_dla.errors import UnsupportedModelError
from recursive_dla.model.weights import Attention, HeadNorm, Layer, Norm, Rotary, Scores, per_query_head

# How far attention patterns made again may be from the cached ones, whose rows each sum to one.
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3, torch.bfloat16: 1e-1, torch.float16: 2e-2}


@dataclass(frozen=True)
class Rotation:
    """Rotary embeddings at the positions of some prompts: pairs of dimensions, each turned by an angle.

    ``cos`` and ``sin`` are ``[#batch pos rotary_dim]``, or ``None`` where nothing is rotated.
    """

    cos: Tensor | None
    sin: Tensor | None
    adjacent: bool

    def rotate(self, x: Float[Tensor, "*any batch pos d_head"]) -> Float[Tensor, "*any batch pos d_head"]:
        """Vectors, at their positions."""
        if self.cos is None or self.sin is None:
            return x
        turned, rest = self._split(x)
        return torch.cat([turned * self.cos + self._quarter_turn(turned) * self.sin, rest], dim=-1)

    def pull_back(self, g: Float[Tensor, "*any batch pos d_head"]) -> Float[Tensor, "*any batch pos d_head"]:
        """Directions that read the rotated vectors, as directions that read them before."""
        if self.cos is None or self.sin is None:
            return g
        turned, rest = self._split(g)
        return torch.cat([turned * self.cos - self._quarter_turn(turned * self.sin), rest], dim=-1)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert self.cos is not None
        size = self.cos.shape[-1]
        return x[..., :size], x[..., size:]

    def _quarter_turn(self, x: Tensor) -> Tensor:
        if self.adjacent:
            return torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
        first, second = x.chunk(2, dim=-1)
        return torch.cat([-second, first], dim=-1)


@dataclass(frozen=True)
class FrozenHeadNorm:
    """A norm on queries or keys at its scale; for one head, :meth:`of` leaves the axis ``head`` out."""

    name: str
    weight: Float[Tensor, "*#head 1 1 d_head"]
    bias: Float[Tensor, "*#head 1 1 d_head"] | None
    centers: bool
    scale: Float[Tensor, "*#head batch pos 1"]

    def of(self, head: int) -> FrozenHeadNorm:
        def one(x: Tensor) -> Tensor:
            return x[head if len(x) > 1 else 0]

        bias = None if self.bias is None else one(self.bias)
        return replace(self, weight=one(self.weight), bias=bias, scale=one(self.scale))

    def linear(self, x: Tensor) -> Tensor:
        """Its linear part; its bias is not added."""
        return (x - x.mean(-1, keepdim=True) if self.centers else x) / self.scale * self.weight

    def pull_back(self, g: Tensor) -> Tensor:
        g = g * self.weight / self.scale
        return g - g.mean(-1, keepdim=True) if self.centers else g


@dataclass(frozen=True)
class Projection:
    """A layer's queries, or its keys, with norms frozen.

    Attributes:
        weight: ``W_Q`` or ``W_K``.
        bias: ``b_Q`` or ``b_K``, and what to call it.
        norm: The norm before the attention, and its scale.
        head_norm: The norm on the vectors themselves.
        rotation: What positions do to them.
        vectors: As queries and keys are multiplied, for the whole stream.
    """

    weight: Float[Tensor, "head d_model d_head"]
    bias: tuple[str, Float[Tensor, "head d_head"] | None]
    norm: tuple[Norm | None, Float[Tensor, "batch pos 1"]]
    head_norm: FrozenHeadNorm | None
    rotation: Rotation
    vectors: Float[Tensor, "head batch pos d_head"]

    def parts(
        self, outputs: Float[Tensor, "src_comp batch pos d_model"], head: int
    ) -> Float[Tensor, "src_comp batch pos d_head"]:
        """What each component's output makes of one head's vectors; with :meth:`constants`, they sum to them."""
        norm, scale = self.norm
        # Folding the norm into the weight lets outputs enter as they were written.
        return self._finish(outputs @ pull_back_norm(self.weight[head].mT, norm).mT / scale, head)

    def constants(self, head: int) -> dict[str, Float[Tensor, "batch pos d_head"]]:
        """What biases make of one head's vectors, by name."""
        norm, _ = self.norm
        like = self.vectors[head]
        name, bias = self.bias
        constants = {}
        if norm is not None and norm.bias is not None:
            constants[f"{norm.name}.b"] = self._finish((norm.bias @ self.weight[head]).expand_as(like), head)
        if bias is not None:
            constants[name] = self._finish(bias[head].expand_as(like), head)
        if self.head_norm is not None and (added := self.head_norm.of(head).bias) is not None:
            constants[f"{self.head_norm.name}.b"] = self.rotation.rotate(added.expand_as(like))
        return constants

    def _finish(self, x: Tensor, head: int) -> Tensor:
        return self.rotation.rotate(x if self.head_norm is None else self.head_norm.of(head).linear(x))

    def pull_back(self, g: Float[Tensor, "head batch pos d_head"]) -> Float[Tensor, "head batch pos d_head"]:
        """Directions that read the vectors, as directions that read the stream's products with the weight."""
        g = self.rotation.pull_back(g)
        return g if self.head_norm is None else self.head_norm.pull_back(g)


def queries_and_keys(cache: Activations, index: int, layer: Layer) -> tuple[Projection, Projection]:
    """A layer's queries and keys; heads that share a key have it once.

    Raises:
        CacheError: The cache lacks the stream, or the rotations of rotary embeddings.
    """
    read = normalised_stream(cache, index, layer.attention)
    norm = (layer.attention.norm, cache.norm_scale(layer.attention.norm))
    scores = layer.scores
    rotation = _rotation(cache, index, scores.rotary)

    def made(weight: Tensor, name: str, bias: Tensor | None, head_norm: HeadNorm | None) -> Projection:
        vectors = einsum(read, weight, "b pos d_model, head d_model d_head -> head b pos d_head")
        if bias is not None:
            vectors = vectors + bias[:, None, None]
        frozen = None if head_norm is None else _frozen(head_norm, vectors)
        if frozen is not None:
            vectors = frozen.linear(vectors)
            vectors = vectors if frozen.bias is None else vectors + frozen.bias
        return Projection(weight, (name, bias), norm, frozen, rotation, rotation.rotate(vectors))

    return (
        made(scores.W_Q, "b_Q", scores.b_Q, scores.q_norm),
        made(scores.W_K, "b_K", scores.b_K, scores.k_norm),
    )


def normalised_stream(cache: Activations, index: int, attention: Attention) -> Float[Tensor, "batch pos d_model"]:
    """What a layer's queries, keys and values are made from."""
    return norm_output(cache.batched("resid_pre", index), attention.norm, cache.norm_scale(attention.norm))


def _frozen(head_norm: HeadNorm, vectors: Float[Tensor, "head batch pos d_head"]) -> FrozenHeadNorm:
    norm, n_heads, d_head = head_norm.norm, len(vectors), vectors.shape[-1]
    if norm.centers:
        if head_norm.joint:
            raise UnsupportedModelError(f"{norm.module} centres all heads together, which is not supported.")
        scale = (vectors.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    else:
        over = (0, -1) if head_norm.joint else -1
        scale = (vectors.square().mean(over, keepdim=True) + norm.eps).sqrt()

    def by_head(part: Tensor) -> Tensor:
        return part.view(n_heads if head_norm.joint else 1, 1, 1, d_head)

    weight = vectors.new_ones(1, 1, 1, d_head) if norm.weight is None else by_head(norm.weight)
    return FrozenHeadNorm(norm.name, weight, None if norm.bias is None else by_head(norm.bias), norm.centers, scale)


def _rotation(cache: Activations, index: int, rotary: Rotary | None) -> Rotation:
    if rotary is None:
        return Rotation(None, None, adjacent=False)
    read = cache.batched("resid_pre", index)
    if rotary.cos is not None and rotary.sin is not None:
        cos, sin = (table[None, : read.shape[1]] for table in (rotary.cos, rotary.sin))
    else:
        cos, sin = (cache.batched(f"blocks.{index}.attn.hook_{name}") for name in ("cos", "sin"))
    return Rotation(cos.to(read.dtype), sin.to(read.dtype), rotary.adjacent)


def raw_scores(query: Projection, key: Projection, factor: float) -> Float[Tensor, "batch head query key"]:
    """``factor · q·k`` of every query with every key, before a soft cap, ALiBi and the mask."""
    keys = per_query_head(key.vectors, len(query.vectors))
    return factor * einsum(query.vectors, keys, "head b query d_head, head b key d_head -> b head query key")


def alibi(weights: Scores, n_pos: int) -> Float[Tensor, "head 1 key"] | None:
    """What ALiBi adds to the scores: the head's slope times the key's position, up to what keys share."""
    if weights.alibi_slopes is None:
        return None
    slopes = weights.alibi_slopes
    return slopes[:, None, None] * torch.arange(n_pos, device=slopes.device, dtype=slopes.dtype)


def ensure_scores(
    cache: Activations, index: int, weights: Scores, scores: Float[Tensor, "batch head query key"]
) -> None:
    """Verify that scores made again give the cached attention pattern, wherever it is not masked.

    Raises:
        UnsupportedModelError: They do not, so something is in them that is not known here.
    """
    pattern = cache.batched("pattern", index)
    if weights.soft_cap is not None:
        scores = weights.soft_cap * torch.tanh(scores / weights.soft_cap)
    added = alibi(weights, scores.shape[-1])
    if added is not None:
        scores = scores + added
    difference = (scores.masked_fill(pattern == 0, -torch.inf).softmax(-1) - pattern).abs()
    # A query that sees no key, in padding, has no pattern that would mean anything.
    sees = (pattern.triu(1).sum(-1) == 0) & (pattern.sum(-1) != 0)
    error = float(difference.masked_fill(~sees[..., None], 0).max())
    tolerance = _TOLERANCE[cache["pattern", index].dtype]
    # Written so that a NaN error fails.
    if not error <= tolerance:
        raise UnsupportedModelError(
            f"The attention scores of {cache.weights.name} cannot be made again from its queries and keys: in layer"
            f" {index} the pattern they give is off by {error:.1e}, where {tolerance:.0e} is allowed. Something else is"
            " in them (attention sinks, another position encoding), or the cache is of other weights."
        )
