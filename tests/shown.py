"""Whether an output is the one that a document shows."""

from __future__ import annotations

import re

# With an exponent, or with decimals, or whole; a sign counts as a number's where no word or digit stands before it.
_NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)")
# Rounding errors depend on the machine; below this they are all alike.
_LARGEST_FACTOR, _ROUNDING = 30, 1e-5
# Counts of what passes a threshold depend on it too.
_MANY, _COUNTS = 500, 0.005


def differences(shown: str, got: str) -> list[str]:
    """The lines in which an output differs from the one shown.

    The words must be the same. A number with decimals may differ by two in its last digit; one with an exponent, a
    rounding error, must not be much larger. Whole numbers must be the same below 500, and nearly the same above: how
    many edges there are depends on which weights are rounded to zero.
    """
    expected, actual = _lines(shown), _lines(got)
    found = [
        f"shown {one!r}\n  got {other!r}"
        for one, other in zip(expected, actual, strict=False)
        if not _same_line(one, other)
    ]
    if len(expected) != len(actual):
        found.append(f"shown {len(expected)} lines, got {len(actual)}")
    return found


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def _same_line(shown: str, got: str) -> bool:
    # How many spaces align a column depends on the numbers in it.
    words, other_words = (_NUMBER.sub("#", " ".join(line.split())) for line in (shown, got))
    return words == other_words and all(
        _same_number(one, other) for one, other in zip(_NUMBER.findall(shown), _NUMBER.findall(got), strict=True)
    )


def _same_number(shown: str, got: str) -> bool:
    value, other = (float(number.replace(",", "").replace("−", "-")) for number in (shown, got))
    if "e" in shown and "e" in got:
        return abs(other) <= max(_LARGEST_FACTOR * abs(value), _ROUNDING)
    decimals, others = (len(number.partition(".")[2].partition("e")[0]) for number in (shown, got))
    whole = _COUNTS * value if value >= _MANY else 0
    return decimals == others and abs(value - other) <= (2.5 * 10**-decimals if decimals else whole)
