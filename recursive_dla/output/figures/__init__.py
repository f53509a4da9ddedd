"""Plotly figures, each with the DataFrame of its numbers. Their public face is :mod:`recursive_dla.figures`.

heatmaps.py    heads × source tokens; one head's source components × source tokens
bars.py        the heads, MLPs or neurons that give most
network.py     a graph, layers over tokens; pictures.py draws it as SVG or PNG
sankey.py      its flow, from the embeddings to the logit
tree.py        the branches of a tree, and what each carries
lens.py        what every layer would predict at every position
attention.py   a head's pattern, and the same weighted by what it would move
plot_parts.py  what they are put together from
caches.py      caches as figures take them
"""
