"""The ranking: through values alone the graph's numbers, through queries and keys the derivative of the heads."""

from __future__ import annotations

from recursive_dla.ranking import PathWeights

VALUES_ONLY = PathWeights(value=1.0, query=0.0, key=0.0)
