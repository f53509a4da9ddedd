"""Attribution trees: what feeds an answer, what feeds that, path by path, in plain data.

data.py         TreeData
paths.py        the chains from embeddings and biases to the answer
search.py       which node is expanded next, and when to stop (interrupts.py: Ctrl-C)
ahead.py        children that are computed in batches before the search comes to them
expansion.py    the numbers: many directions pulled back at once, each through one component
vocabulary.py   what nodes are, as integers
"""
