"""The comparison that the tests of documents and notebooks rest on."""

from __future__ import annotations

import pytest
from shown import differences


@pytest.mark.parametrize(
    ("shown", "got"),
    [
        ("L23H3    +2.078, of which", "L23H3    +2.079, of which"),
        ("completeness error 3.4e-07", "completeness error 1.2e-06"),
        ("a  1.50\nb -0.25\n", "a   1.50\nb  -0.25"),
        ("4,376 nodes, 4,521,256 edges", "4,376 nodes, 4,521,251 edges"),
        ("−0.123 logits", "−0.124 logits"),
    ],
)
def test_the_same(shown: str, got: str) -> None:
    assert differences(shown, got) == []


@pytest.mark.parametrize(
    ("shown", "got"),
    [
        ("L23H3    +2.078", "L23H3    +2.088"),
        ("L23H3    +2.078", "L23H3    -2.078"),
        ("L23H3 +1.0", "L23H4 +1.0"),
        ("completeness error 3.4e-07", "completeness error 3.4e-05"),
        ("4,521,256 edges", "4,551,256 edges"),
        ("4,376 nodes", "4,476 nodes"),
        ("455 edges", "456 edges"),
        ("one line", "one line\nand another"),
        ("15 tokens", "15.0 tokens"),
        ("embed at 10", "embed at 11"),
    ],
)
def test_not_the_same(shown: str, got: str) -> None:
    assert differences(shown, got) != []
