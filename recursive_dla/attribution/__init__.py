"""From a number that a model puts out to what made it: the maths, in plain data.

targets.py               what is explained: logits and what is made of them
components.py            what writes into the residual stream, in writing order, and what each wrote
pullback.py              the heart: a direction pulled back through norms, heads, MLPs, and all layers
attention_rules.py       what a head reads of its values, queries and keys
mlp_rules.py             how one neuron's output is shared between what made it
queries_keys.py          queries and keys made again from the stream, as linear functions of it
destinations.py          one level: heads, MLPs, their paths, neurons, each broken down; breakdown_data.py holds it
ranking.py               which components matter if they are taken away
node_meanings.py         what the nodes of graphs and trees stand for, and what they are called
provenance.py, labels.py where the numbers come from, and tokens as people read them
"""
