"""JSON as the package writes it, one item to a line, and as it reads it, with finite numbers only."""

from __future__ import annotations

import json
import math
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def json_lines(document: dict[str, Any], *lists: str) -> str:
    """``document`` as JSON, with the items of the ``lists`` named, its last fields, on a line each."""
    head = {name: value for name, value in document.items() if name not in lists}
    parts = [_encode(head)[1:-1]] if head else []
    parts += [f'"{name}": [\n' + ",\n".join(map(_encode, document[name])) + "\n]" for name in lists]
    return "{" + ",\n".join(parts) + "}\n"


def parse_json(text: str) -> Any:
    """Any JSON, with finite numbers only.

    Raises:
        ValueError: It is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is not a finite number")
    return number
