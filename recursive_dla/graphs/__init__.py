"""Attribution graphs: a logit traced back through every path at once, and what is done with the result.

A graph:

graph.py        AttributionGraph
flow.py         levels, influence, what leads where
pruning.py      the strongest edges, the most influential nodes, parts by name
grouping.py     nodes joined
comparison.py   two graphs side by side

From a cache to a graph:

building.py     attribution_graph, attribution_graphs
budget.py       what was asked for, and the memory shared out
recursion.py    the sweep: directions pulled back layer by layer, and what each component gives
edges.py        where what is read meets what was written: in the stream or in value spaces (values.py)
products.py     the two multiplied: every edge, or the strong ones
collecting.py   where edges go as they are found
balance.py      whether every node gets what it gives
assembling.py   nodes and edges put together
"""
