"""Caches in files: everything comes back as it was, and nothing else is taken for a cache."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from models import TWO_MODELS, boot, hugging_face, random_tokens, run_on, tiny
from oracles import assert_close
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from recursive_dla import ActivationCache, CacheError, InputError

DTYPES = (torch.float64, torch.float32, torch.bfloat16)


def cache_of(name: str = "gpt2", dtype: torch.dtype = torch.float32, **options: Any) -> ActivationCache:
    model = tiny(name, dtype)
    cached = run_on(model, random_tokens(1 if options else 2), **options).cache
    return ActivationCache(cached.cache_dict, model, cached.has_batch_dim)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return cache_of().save(tmp_path / "cache.safetensors")


def assert_equal(loaded: ActivationCache, original: ActivationCache) -> None:
    assert list(loaded) == list(original)
    assert loaded.has_batch_dim == original.has_batch_dim
    for name, tensor in original.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].device == tensor.device
        assert torch.equal(loaded[name], tensor)


# --- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", TWO_MODELS)
def test_everything_comes_back(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    original = cache_of(name, dtype)
    path = original.save(tmp_path / "cache.safetensors")
    loaded = ActivationCache.load(path, original.model)
    assert_equal(loaded, original)
    assert torch.equal(loaded.decompose_resid(apply_ln=True), original.decompose_resid(apply_ln=True))
    # What several names share is stored once; GPT-2's positions, one row for all prompts in memory, are stored in full.
    size = sum(original.memory().values()) + (original["pos_embed"].nbytes if original.has_pos_embed else 0)
    assert sum(loaded.memory().values()) <= size < 0.6 * sum(tensor.nbytes for tensor in original.values())
    assert path.stat().st_size < size + 64 * 1024
    assert loaded["resid_post", 0].data_ptr() == loaded["resid_pre", 1].data_ptr()


def test_all_kinds_of_tensors_come_back(tmp_path: Path) -> None:
    """Strided, empty, without axes, of integers and bools; and a cache without a batch dimension."""
    original = cache_of(remove_batch_dim=True)
    wide = torch.arange(24.0).view(4, 6)
    activations = {
        **original.cache_dict,
        "transposed": wide.mT,
        "part": wide[1:3, ::2],
        "expanded": wide[:1].expand(5, 6),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float16),
        "bools": torch.tensor([True, False]),
        "bytes": torch.arange(3, dtype=torch.uint8),
        "integers": torch.arange(3, dtype=torch.int32),
        "nothing": None,
    }
    original = ActivationCache(activations, original.model, has_batch_dim=False)
    loaded = ActivationCache.load(original.save(str(tmp_path / "cache")), original.model)
    assert_equal(loaded, original)
    assert "nothing" not in loaded


def test_tensors_that_share_memory_come_back(tmp_path: Path) -> None:
    """Parts of one another, and the same numbers in another shape, as some models' hooks see them."""
    original = cache_of()
    wide = torch.arange(24.0)
    activations = {**original.cache_dict, "wide": wide, "square": wide.view(4, 6), "end": wide[7:], "start": wide[:9]}
    original = ActivationCache(activations, original.model)
    assert_equal(ActivationCache.load(original.save(tmp_path / "cache"), original.model), original)


def test_what_was_read_is_the_file_s_no_longer(saved: Path) -> None:
    original = cache_of()
    loaded = ActivationCache.load(saved, original.model)
    with saved.open("r+b") as file:
        file.write(bytes(saved.stat().st_size))
    assert_equal(loaded, original)


def test_any_reader_of_safetensors_opens_it(saved: Path) -> None:
    original = cache_of()
    tensors = load_file(saved)
    assert tensors
    for name, tensor in tensors.items():
        assert torch.equal(tensor, original[name])
    with safe_open(saved, framework="pt") as file:
        names = json.loads(json.loads(file.metadata()["recursive_dla"])["names"])
    assert {name: first in tensors for name, first in names.items()} == dict.fromkeys(original, True)


def test_the_same_cache_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    for attempt in range(4):
        assert cache_of().save(tmp_path / f"again-{attempt}").read_bytes() == saved.read_bytes()


def test_saving_replaces_the_file_in_one_move(saved: Path) -> None:
    """Whoever has the old one open goes on reading it."""
    before = saved.read_bytes()
    other = cache_of("llama")
    with saved.open("rb") as old:
        other.save(saved)
        assert old.read() == before
    assert_equal(ActivationCache.load(saved, other.model), other)
    assert saved.stat().st_mode & 0o777 == 0o666 & ~_umask()


@pytest.mark.skipif(os.name != "posix", reason="sets a POSIX limit on the size of files")
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_failure_in_between_leaves_the_old_file_and_nothing_else(saved: Path, share: float) -> None:
    import resource

    kept, other = saved.read_bytes(), cache_of("llama")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * sum(other.memory().values())), limits[1]))
    try:
        with pytest.raises(InputError, match=rf"cache\.safetensors' cannot be written: .*{os.strerror(errno.EFBIG)}"):
            other.save(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == kept
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@pytest.mark.parametrize("place", ["missing/cache", "."])
def test_a_place_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        cache_of().save(tmp_path / place)


def test_what_safetensors_cannot_hold_is_named(tmp_path: Path) -> None:
    original = cache_of()
    strange = ActivationCache({**original.cache_dict, "phases": torch.zeros(2, dtype=torch.complex64)}, original.model)
    with pytest.raises(InputError, match=r"Activations of torch\.complex64 cannot be saved, and phases is of it"):
        strange.save(tmp_path / "cache")
    assert not list(tmp_path.iterdir())


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0, 4, 8, 1000, -20_000, -9, -1])
def test_a_truncated_file_is_refused(saved: Path, part: int) -> None:
    saved.write_bytes(saved.read_bytes()[:part])
    with pytest.raises(CacheError, match=r"is not a cache that ActivationCache\.save wrote, or only a part of one"):
        ActivationCache.load(saved, tiny("gpt2", torch.float32))


def test_a_longer_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"more")
    with pytest.raises(CacheError, match="or only a part of one"):
        ActivationCache.load(saved, tiny("gpt2", torch.float32))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle in a zip file", b"{}", os.urandom(500)])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cache"
    path.write_bytes(content)
    with pytest.raises(CacheError, match=r"cache' is not a cache that ActivationCache\.save wrote"):
        ActivationCache.load(path, tiny("gpt2", torch.float32))


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_that_hold_something_else_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"hook_embed": torch.zeros(2)}, path, metadata)
    with pytest.raises(CacheError, match=r"is a safetensors file, but not a cache .* its format is (None|'pt'), not"):
        ActivationCache.load(path, tiny("gpt2", torch.float32))


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_path_without_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CacheError, match=r"' cannot be read: No such (file|device)"):
        ActivationCache.load(tmp_path / name, tiny("gpt2", torch.float32))


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The same file with another header."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    packed = header["__metadata__"].get("recursive_dla")
    if packed is not None:
        header["__metadata__"] = json.loads(packed)
    change(header)
    if packed is not None:
        header["__metadata__"] = {"recursive_dla": json.dumps(header["__metadata__"])}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def test_every_byte_of_the_data_counts(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    for place in (start, (start + len(content)) // 2, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1
        saved.write_bytes(damaged)
        with pytest.raises(CacheError, match="is damaged: its data does not have the checksum it was saved with"):
            ActivationCache.load(saved, tiny("gpt2", torch.float32))


def _swap(header: dict[str, Any]) -> None:
    first, second = "blocks.0.ln1.hook_scale", "blocks.1.ln1.hook_scale"
    header[first], header[second] = header[second], header[first]


def _rename(header: dict[str, Any]) -> None:
    names = json.loads(header["__metadata__"]["names"])
    names["hook_embed"] = "hook_pos_embed" if "hook_pos_embed" in header else "pos_embed.hook_out"
    header["__metadata__"]["names"] = json.dumps(names)


def _unbatch(header: dict[str, Any]) -> None:
    header["__metadata__"]["has_batch_dim"] = "false"


@pytest.mark.parametrize("change", [_swap, _rename, _unbatch])
def test_what_the_data_means_counts_too(saved: Path, change: Callable[[dict[str, Any]], None]) -> None:
    rewritten(saved, change)
    with pytest.raises(CacheError, match="is damaged: its data does not have the checksum"):
        ActivationCache.load(saved, tiny("gpt2", torch.float32))


@pytest.mark.parametrize("missing", ["sha256", "model", "sizes", "weights", "has_batch_dim", "names"])
def test_a_header_without_a_part_is_refused(saved: Path, missing: str) -> None:
    rewritten(saved, lambda header: header["__metadata__"].pop(missing))
    with pytest.raises(CacheError, match=f"is damaged: '{missing}'"):
        ActivationCache.load(saved, tiny("gpt2", torch.float32))


def test_another_version_is_refused(saved: Path) -> None:
    rewritten(saved, lambda header: header["__metadata__"].update(version="3"))
    with pytest.raises(CacheError, match="has version '3' of the format, and this program reads '1' and '2'"):
        ActivationCache.load(saved, tiny("gpt2", torch.float32))


def test_another_models_cache_is_refused_by_name_and_sizes(saved: Path) -> None:
    with pytest.raises(CacheError, match=r"of another model: the model it was saved with gpt2 must be .* llama\."):
        ActivationCache.load(saved, tiny("llama", torch.float32))
    rewritten(saved, lambda header: header["__metadata__"].update(model="llama"))
    with pytest.raises(CacheError, match=r"the model's sizes it was saved with \{\"n_layers\": 3, .*\"n_layers\": 2"):
        ActivationCache.load(saved, tiny("llama", torch.float32))


def test_the_same_model_with_other_weights_is_refused(tmp_path: Path) -> None:
    """Of another training, or folded where this one is not: names and sizes are the same, numbers are not."""
    original = cache_of("gpt2-compatible")
    path = original.save(tmp_path / "cache")
    rewritten(path, lambda header: header["__metadata__"].update(model="gpt2"))
    for other in (tiny("gpt2", torch.float32), tiny("gpt2", torch.float32, seed=9)):
        with pytest.raises(CacheError, match="the model's weights it was saved with must be those of the model given"):
            ActivationCache.load(path, other)


def test_a_model_is_known_in_any_precision(saved: Path) -> None:
    """Weights that are the same numbers are the same weights."""
    wide = tiny("gpt2", torch.float64, seed=41)
    with torch.no_grad():
        narrow = dict(tiny("gpt2", torch.float32).named_parameters())
        for name, parameter in wide.named_parameters():
            parameter.copy_(narrow[name])
    assert torch.equal(ActivationCache.load(saved, wide)["z", 1], cache_of()["z", 1])


# --- files of 0.1.0 --------------------------------------------------------------------------------------------------


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return shutil.copy(Path(__file__).parent / "data" / "0.1.0" / "cache.safetensors", tmp_path / "first.safetensors")


@pytest.fixture(scope="module")
def exact() -> Any:
    """The model of that file. Its weights are the same on every machine, as random ones might not be."""
    model = hugging_face("gpt2")
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            values = torch.arange(parameter.numel(), dtype=torch.float64) * (2 * number + 7) % 37 - 18
            parameter.copy_(values.view(parameter.shape) / 64)
    return boot(model, "gpt2", torch.float32)


def test_a_file_of_the_first_release_loads(first: Path, exact: Any) -> None:
    with safe_open(first, framework="pt") as file:
        assert file.metadata()["version"] == "1"
    loaded = ActivationCache.load(first, exact)
    ran = run_on(exact, random_tokens(1, 3)).cache
    assert set(loaded) == {name for name, tensor in ran.items() if tensor is not None}
    for name, tensor in loaded.items():
        assert_close(tensor.flatten().tolist(), ran[name].flatten().tolist(), relative=1e-5)
    again = loaded.save(first.with_name("again.safetensors"))
    assert_equal(ActivationCache.load(again, exact), loaded)


def test_the_first_release_s_checksum_is_verified(first: Path, exact: Any) -> None:
    content = bytearray(first.read_bytes())
    content[-5] ^= 1
    first.write_bytes(content)
    with pytest.raises(CacheError, match="is damaged: its data does not have the checksum"):
        ActivationCache.load(first, exact)


@pytest.mark.parametrize("change", [_swap, _rename, _unbatch])
def test_the_first_release_s_checksum_is_of_the_header_too(
    first: Path, exact: Any, change: Callable[[dict[str, Any]], None]
) -> None:
    rewritten(first, change)
    with pytest.raises(CacheError, match="is damaged: its data does not have the checksum"):
        ActivationCache.load(first, exact)


def test_the_first_release_s_file_is_of_its_model_only(first: Path) -> None:
    with pytest.raises(CacheError, match="the model's weights it was saved with must be those of the model given"):
        ActivationCache.load(first, tiny("gpt2", torch.float32))
