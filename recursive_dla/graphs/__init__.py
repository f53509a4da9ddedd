"""Attribution graphs: a logit traced back through every path at once, and what is done with the result, in plain data.

A graph:

data.py            GraphData
flow.py            levels, influence, what leads where
pruning.py         the strongest edges, the most influential nodes, parts by name
grouping.py        nodes joined
comparison.py      two graphs side by side

From a cache to a graph:

construction.py    the whole way
memory_budget.py   what was asked for, and the memory shared out
sweep.py           directions pulled back layer by layer, and what each component gives
edges.py           where what is read meets what was written: in the stream or in value spaces (value_space.py)
products.py        the two multiplied: every edge, or the strong ones
collectors.py      where edges go as they are found
balance.py         whether every node gets what it gives
assembly.py        nodes and edges put together
"""
