"""Loading a model by name, ready for ``run_with_cache``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from recursive_dla.errors import InputError


def load_model(
    name: str | Path = "demo", *, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> Any:
    """A ``TransformerBridge``, ready for ``run_with_cache``.

    Args:
        name: ``"demo"`` (SmolLM2-135M-Instruct, fetched once, without any hub), a local folder in Hugging Face's
            format, or a model's name on the Hugging Face hub.
        device: Where to put it; the CPU by default, so that results are the same on every machine.
        dtype: Of the weights; float32 by default.

    Raises:
        InputError: No such folder or model, or TransformerLens is not installed.

    Example:
        >>> model = load_model("demo")  # doctest: +SKIP
        >>> logits, cache = model.run_with_cache("The Eiffel Tower is located in the city of")  # doctest: +SKIP
    """
    try:
        from transformer_lens.model_bridge import TransformerBridge
    except ImportError as error:
        raise InputError('Loading a model needs TransformerLens 4: pip install "recursive-dla[demo]".') from error
    if str(name) == "demo":
        from recursive_dla.model.demo import demo_model_folder

        source = str(demo_model_folder())
    else:
        source = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else str(name)
    dtype = torch.float32 if dtype is None else dtype
    try:
        model = TransformerBridge.boot_transformers(source, device="cpu" if device is None else device, dtype=dtype)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"Model {str(name)!r} could not be loaded. Give 'demo', a local folder or a Hugging Face name. ({reason})"
        ) from error
    if dtype == torch.float64:
        _compute_in_float64(model)
    return model


def _compute_in_float64(model: Any) -> None:
    # Hugging Face's RMSNorm rounds to float32 whatever its input; TransformerLens's own computation does not.
    for module in model.modules():
        if hasattr(module, "use_native_layernorm_autograd"):
            module.use_native_layernorm_autograd = False
    # The product over all experts at once knows no float64; a loop over them does.
    config = getattr(model.original_model, "config", None)
    if config is not None and hasattr(config, "_experts_implementation"):
        config._experts_implementation = "eager"
