"""Caches to files and back: one safetensors file, which any safetensors reader can open.

Every tensor is stored once, whatever number of names it has. The header's metadata says which other names it goes by,
whose activations they are, and the SHA-256 of all of that and the data. Nothing is copied on the way: tensors are
written from where they are and read to where they stay, one at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from recursive_dla.cache.activations import Activations, same_tensor
from recursive_dla.errors import CacheError, InputError
from recursive_dla.model.weights import Layer, ModelWeights
from recursive_dla.safe_files import replacing

FORMAT = "recursive_dla.activation_cache"
VERSION = "1"

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
# How many numbers of each weight tensor tell two models apart.
_SAMPLES = 64


def save(cache: Activations, path: Path) -> Path:
    """Write ``cache`` to ``path``; the public face of this is :meth:`recursive_dla.ActivationCache.save`."""
    stored, names = _each_once(cache.cache_dict)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        **_identity(cache.weights),
        "has_batch_dim": json.dumps(cache.has_batch_dim),
        "names": json.dumps(names),
    }
    table = _table(stored)
    digest = _digest(table, metadata)
    with replacing(path, "w+b") as file:
        # The digest of the data stands before the data, so its place is kept until it is known.
        file.write(_header(table, {**metadata, "sha256": "0" * digest.digest_size * 2}))
        for tensor in stored.values():
            data = _bytes_of(tensor.detach().cpu().contiguous())
            digest.update(data)
            file.write(data)
        file.seek(0)
        file.write(_header(table, {**metadata, "sha256": digest.hexdigest()}))
    return path


def load(path: Path, weights: ModelWeights) -> tuple[dict[str, Tensor], bool]:
    """The activations that :func:`save` wrote, on the model's device, and whether they have a batch dimension."""
    try:
        table, metadata = _read_header(path)
        _check_identity(path, metadata, weights)
        names, has_batch_dim = json.loads(metadata["names"]), json.loads(metadata["has_batch_dim"])
        expected = metadata.pop("sha256")
        digest = _digest(table, metadata)
        with path.open("rb") as file:
            file.seek(8 + int.from_bytes(file.read(8), "little"))
            stored = {name: _read_tensor(file, entry, digest, weights.device) for name, entry in table.items()}
        activations = {name: stored[first] for name, first in names.items()}
    except OSError as error:
        raise CacheError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CacheError):
            raise
        raise CacheError(f"{str(path)!r} is damaged: {error}. Save the cache again.") from error
    if digest.hexdigest() != expected:
        raise CacheError(f"{str(path)!r} is damaged: its data does not have the checksum it was saved with.")
    return activations, has_batch_dim


def _each_once(activations: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor under its first name, those of the widest numbers first, and for every name the one it is under."""
    firsts: dict[Any, str] = {}
    names = {name: firsts.setdefault(same_tensor(tensor), name) for name, tensor in activations.items()}
    # In this order every tensor of the file is aligned to its numbers.
    order = sorted(firsts.values(), key=lambda name: -activations[name].element_size())
    return {name: activations[name] for name in order}, names


def _table(stored: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """The safetensors header's entry for each tensor."""
    table, end = {}, 0
    for name, tensor in stored.items():
        if tensor.dtype not in _NAMES:
            raise InputError(f"Activations of {tensor.dtype} cannot be saved, and {name} is of it.")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        table[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    return table


def _header(table: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    text = json.dumps({"__metadata__": metadata, **table}, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _read_header(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        # Opening checks the header against itself and against the length of the file.
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise CacheError(
            f"{str(path)!r} is not a cache that ActivationCache.save wrote, or only a part of one: {error}."
        ) from error
    if metadata.get("format") != FORMAT:
        raise CacheError(
            f"{str(path)!r} is a safetensors file, but not a cache that ActivationCache.save wrote:"
            f" its format is {metadata.get('format')!r}, not {FORMAT!r}."
        )
    if metadata.get("version") != VERSION:
        raise CacheError(
            f"{str(path)!r} has version {metadata.get('version')!r} of the format, and this program reads {VERSION!r}."
            " Read it with the version of recursive_dla that wrote it, or save it again."
        )
    with path.open("rb") as raw:
        table = json.loads(raw.read(int.from_bytes(raw.read(8), "little")))
    del table["__metadata__"]
    return dict(sorted(table.items(), key=lambda entry: entry[1]["data_offsets"])), metadata


def _read_tensor(file: IO[bytes], entry: Mapping[str, Any], digest: Any, device: torch.device) -> Tensor:
    tensor = torch.empty(entry["shape"], dtype=_DTYPES[entry["dtype"]])
    data = _bytes_of(tensor)
    if file.readinto(data) != len(data):  # type: ignore[attr-defined]
        raise ValueError("it ends too early")
    digest.update(data)
    return tensor.to(device)


def _bytes_of(tensor: Tensor) -> Any:
    """The memory of a contiguous tensor, not a copy of it."""
    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


def _digest(table: Mapping[str, Any], metadata: Mapping[str, str]) -> Any:
    return hashlib.sha256(json.dumps([table, metadata], sort_keys=True).encode())


def _identity(weights: ModelWeights) -> dict[str, str]:
    """What says whose activations they are: the model's name, its sizes, and a digest of a sample of its weights."""
    sizes = {name: getattr(weights, name) for name in ("n_layers", "n_heads", "d_head", "d_model", "d_vocab")}
    digest = hashlib.sha256()
    layers = tuple(map(_in_order, weights.stored_layers))
    for part in _parts(layers, weights.final_norm, weights.W_E, weights.W_U, weights.b_U):
        digest.update(part)
    return {"model": weights.name, "sizes": json.dumps(sizes), "weights": digest.hexdigest()}


def _in_order(layer: Layer) -> tuple[Any, ...]:
    """The parts of a layer in the order that the digests of files are taken in."""
    a, s = layer.attention, layer.scores
    scores = (s.q_norm, s.k_norm, s.rotary, s.factor, s.soft_cap, s.alibi_slopes)
    return (
        a.norm,
        a.out_norm,
        s.W_Q,
        s.b_Q,
        s.W_K,
        s.b_K,
        a.W_V,
        a.b_V,
        a.W_O,
        a.b_O,
        *scores,
        layer.mlp,
        layer.parallel,
    )


def _parts(*values: Any) -> Iterable[bytes]:
    for value in values:
        if isinstance(value, Tensor):
            places = torch.linspace(0, value.numel() - 1, min(_SAMPLES, value.numel()), dtype=torch.float64).long()
            sample = value.detach()[torch.unravel_index(places.to(value.device), value.shape)]
            yield repr(tuple(value.shape)).encode()
            yield _bytes_of(sample.double().cpu().contiguous())
        elif is_dataclass(value) and not isinstance(value, type):
            yield from _parts(*(getattr(value, field.name) for field in fields(value)))
        elif isinstance(value, tuple):
            yield from _parts(*value)
        else:
            yield repr(value).encode()


def _check_identity(path: Path, metadata: Mapping[str, str], weights: ModelWeights) -> None:
    given = _identity(weights)
    for what, part in (("model", "model"), ("model's sizes", "sizes"), ("model's weights", "weights")):
        if metadata[part] != given[part]:
            saved, here = ("", "") if part == "weights" else (f" {metadata[part]}", f" {given[part]}")
            raise CacheError(
                f"{str(path)!r} is of another model: the {what} it was saved with{saved} must be those of the model"
                f" given{here}. Give the model that the cache came from, loaded and folded in the same way."
            )
