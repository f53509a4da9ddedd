"""Figures, as plotly objects: returned, never shown.

Each ``…_figure`` has a ``…_frame``, which gives the numbers that it shows as a DataFrame, for a plot of your own:

    figure                 shows                                                          from
    heads_figure           heads × source tokens                                          a Breakdown of heads
    head_sources_figure    one head: source components × source tokens                    a Breakdown of heads
    components_figure      the heads, MLPs or neurons that give most                      Breakdowns
    graph_figure           the attribution graph, layers over tokens                      an AttributionGraph
    sankey_figure          its flow, from the embeddings to the logit                     an AttributionGraph
    tree_figure            the branches of a tree, and what each carries                  an AttributionTree
    logit_lens_figure      what every layer would predict at every position               an ActivationCache
    attention_figure       a head's pattern, and the same weighted by what it would move  an ActivationCache

Arguments they share: ``theme``, ``"light"`` or ``"dark"``; ``prompt`` and ``token``, the places in the batch and in
the list of answers. Blue raises the answer and red lowers it, on scales that are symmetric around zero. A token's label
holds its position, and its spaces (``·``), line ends (``⏎``) and control characters are visible.
"""

from __future__ import annotations

from recursive_dla.output.figures.attention import attention_figure, attention_frame
from recursive_dla.output.figures.bars import components_figure, components_frame
from recursive_dla.output.figures.heatmaps import head_sources_figure, head_sources_frame, heads_figure, heads_frame
from recursive_dla.output.figures.lens import logit_lens_figure, logit_lens_frame
from recursive_dla.output.figures.network import graph_figure, graph_frame
from recursive_dla.output.figures.sankey import sankey_figure, sankey_frame
from recursive_dla.output.figures.tree import tree_figure, tree_frame

__all__ = [
    "attention_figure",
    "attention_frame",
    "components_figure",
    "components_frame",
    "graph_figure",
    "graph_frame",
    "head_sources_figure",
    "head_sources_frame",
    "heads_figure",
    "heads_frame",
    "logit_lens_figure",
    "logit_lens_frame",
    "sankey_figure",
    "sankey_frame",
    "tree_figure",
    "tree_frame",
]
