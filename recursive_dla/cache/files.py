"""Caches to files and back: one safetensors file, which any safetensors reader can open.

Every tensor is stored once, whatever number of names it has. The file's metadata says which other names it goes by,
whose activations they are, and the SHA-256 of all of that and the data.

Tensors are written from where they are, but for those that share memory, do not lie in one piece or are on another
device: these are copied first, all at once. They are read one at a time, to where they stay. Thus a cache on the CPU is
held once on either way, while one on a GPU takes its size in main memory when it is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recursive_dla.cache.activations import Activations, same_tensor
from recursive_dla.errors import CacheError, InputError
from recursive_dla.model.weights import Layer, ModelWeights
from recursive_dla.safe_files import replacing

FORMAT = "recursive_dla.activation_cache"
VERSION = "2"
# Of 0.1.0. Its checksum depends on where in the file each tensor lies.
_FIRST_VERSION = "1"
# All metadata is one entry: safetensors writes several in another order each time, and the same cache is to give the
# same bytes.
_ENTRY = "recursive_dla"

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
# How many numbers of each weight tensor tell two models apart.
_SAMPLES = 64


def save(cache: Activations, path: Path) -> Path:
    """Write ``cache`` to ``path``, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    found, names = _each_once(cache.cache_dict)
    kinds = {name: [_dtype_named(name, tensor), list(tensor.shape)] for name, tensor in found.items()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        **_identity(cache.weights),
        "has_batch_dim": json.dumps(cache.has_batch_dim),
        "names": json.dumps(names),
    }
    with replacing(path, "wb") as file:
        stored = _apart(found)
        checksum = _checksum(kinds, metadata, (stored[name] for name in sorted(stored)))
        try:
            save_file(stored, file.name, {_ENTRY: json.dumps({**metadata, "sha256": checksum}, sort_keys=True)})
        except SafetensorError as error:
            raise OSError(str(error)) from error
    return path


def load(path: Path, weights: ModelWeights) -> tuple[dict[str, Tensor], bool]:
    """The activations that :func:`save` wrote, on the model's device, and whether they have a batch dimension."""
    from safetensors import SafetensorError, safe_open

    stored = {}
    try:
        # Opening checks the header against itself and against the length of the file. The file is read, not mapped:
        # what becomes of it later is nothing to the activations.
        with safe_open(path, framework="pt", backend="pread") as file:
            metadata = _unpacked(file.metadata() or {})
            _check_format(path, metadata)
            _check_identity(path, metadata, weights)
            names, has_batch_dim = json.loads(metadata["names"]), json.loads(metadata["has_batch_dim"])
            expected = metadata.pop("sha256")
            kinds, order = _contents(path, file, metadata["version"])

            def tensors() -> Iterator[Tensor]:
                for name in order:
                    tensor = file.get_tensor(name)
                    stored[name] = tensor.to(weights.device)
                    yield tensor

            checksum = _checksum(kinds, metadata, tensors())
        activations = {name: stored[first] for name, first in names.items()}
    except SafetensorError as error:
        raise CacheError(
            f"{str(path)!r} is not a cache that ActivationCache.save wrote, or only a part of one: {error}."
        ) from error
    except OSError as error:
        raise CacheError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CacheError):
            raise
        raise CacheError(f"{str(path)!r} is damaged: {error}. Save the cache again.") from error
    if checksum != expected:
        raise CacheError(f"{str(path)!r} is damaged: its data does not have the checksum it was saved with.")
    return activations, has_batch_dim


def _each_once(activations: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor under its first name, and for every name the one it is under."""
    firsts: dict[Any, str] = {}
    names = {name: firsts.setdefault(same_tensor(tensor), name) for name, tensor in activations.items()}
    return {name: activations[name] for name in firsts.values()}, names


def _dtype_named(name: str, tensor: Tensor) -> str:
    """What safetensors calls the type of a tensor's numbers."""
    if tensor.dtype not in _DTYPES:
        raise InputError(f"Activations of {tensor.dtype} cannot be saved, and {name} is of it.")
    return _DTYPES[tensor.dtype]


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor in one piece of main memory, in which no other has a part: so the writer wants them."""
    apart: dict[str, Tensor] = {}
    taken = set()
    for name, tensor in tensors.items():
        here = tensor.detach().cpu().contiguous()
        memory = here.untyped_storage().data_ptr()
        apart[name] = here.clone() if memory in taken else here
        taken.add(memory)
    return apart


def _contents(path: Path, file: Any, version: str) -> tuple[Mapping[str, Any], Sequence[str]]:
    """What the checksum says of the tensors of an open file, and the order in which it takes their data."""
    if version != _FIRST_VERSION:
        parts = {name: file.get_slice(name) for name in sorted(file.keys())}
        return {name: [part.get_dtype(), part.get_shape()] for name, part in parts.items()}, list(parts)
    with path.open("rb") as raw:
        table = json.loads(raw.read(int.from_bytes(raw.read(8), "little")))
    del table["__metadata__"]
    return table, file.offset_keys()


def _checksum(kinds: Mapping[str, Any], metadata: Mapping[str, str], tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256(json.dumps([kinds, metadata], sort_keys=True).encode())
    for tensor in tensors:
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _unpacked(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a file; 0.1.0 wrote an entry for each part."""
    return json.loads(metadata[_ENTRY]) if _ENTRY in metadata else dict(metadata)


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise CacheError(
            f"{str(path)!r} is a safetensors file, but not a cache that ActivationCache.save wrote:"
            f" its format is {metadata.get('format')!r}, not {FORMAT!r}."
        )
    if metadata.get("version") not in (_FIRST_VERSION, VERSION):
        raise CacheError(
            f"{str(path)!r} has version {metadata.get('version')!r} of the format, and this program reads"
            f" {_FIRST_VERSION!r} and {VERSION!r}. Read it with the version of recursive_dla that wrote it, or save it"
            " again."
        )


def _bytes_of(tensor: Tensor) -> Any:
    """The memory of a contiguous tensor, not a copy of it."""
    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


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
