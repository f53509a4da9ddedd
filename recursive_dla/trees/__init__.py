"""Attribution trees: what feeds an answer, what feeds that, path by path.

building.py     attribution_tree: from a cache and an answer to a tree
search.py       which node is expanded next, and when to stop (interrupts.py: Ctrl-C)
ahead.py        children that are computed in batches before the search comes to them
expansion.py    the numbers: many directions pulled back at once, each through one component
vocabulary.py   what nodes are, as integers
tree.py         AttributionTree
paths.py        strongest_paths: the chains from embeddings and biases to the answer
text.py         a tree as lines
files.py        a tree as JSON, and back
"""
