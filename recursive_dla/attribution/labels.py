"""Tokens as people read them: a label that shows every character, and tells equal tokens apart by their position."""

from __future__ import annotations

from collections.abc import Sequence

from recursive_dla.cache.activations import Activations
from recursive_dla.model.tokens import token_texts

_SIGNS = {" ": "·", "\n": "⏎", "\t": "⇥"}


def prompt_texts(cache: Activations) -> tuple[tuple[str, ...], ...]:
    """The texts of each prompt's tokens; ``(0)``, ``(1)``, … where the cache does not tell which tokens they are."""
    ids = cache.tokens()
    if ids is None:
        batch, n_pos = cache.batched("embed").shape[:2]
        return (tuple(f"({pos})" for pos in range(n_pos)),) * batch
    return tuple(tuple(token_texts(cache.model, row)) for row in ids)


def visible(text: str, limit: int | None = None) -> str:
    """``text`` with spaces, line ends and characters that cannot be printed made visible, on one line.

    Args:
        text: Any text.
        limit: Shorten it to so many characters.

    Example:
        >>> visible(" a\\n\\x00"), visible(" Constantinople", 8)
        ('·a⏎\\\\x00', '·Consta…')
    """
    # No character is shown as none, so that what is cut off need not be looked at.
    looked_at = text if limit is None else text[: limit + 1]
    shown = "".join(_SIGNS.get(c, c if c.isprintable() else _escaped(c)) for c in looked_at)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def visible_line(text: str) -> str:
    """``text`` on one line: as :func:`visible`, with spaces left as they are.

    Example:
        >>> visible_line("the line end \\n")
        'the line end ⏎'
    """
    return "".join(c if c == " " else visible(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def token_label(pos: int, text: str, limit: int | None = None) -> str:
    """A token's position and text, as in ``"10 ·John"``: no two tokens of a prompt have the same."""
    return f"{pos} {visible(text, limit)}"


def token_labels(texts: Sequence[str]) -> list[str]:
    """:func:`token_label` of every token of a prompt."""
    return [token_label(pos, text) for pos, text in enumerate(texts)]
