"""The activations of one forward pass: looking them up, checking them, taking the residual stream apart.

activation_cache.py      ActivationCache, with the methods of TransformerLens's, and any cache as ours
activations.py           what computations need of it: activations by hook name, and the weights that they go with
hook_names.py, slices.py names of activations, and indices along one dimension, in every form that users write them
norms.py                 norms frozen at their cached scale, forward and back
neuron_inputs.py         pre-activations and outputs of neurons, the routing of experts
checks.py                whether the cache holds what the weights say it should
fingerprints.py          whether anything was written to it, or to the model, since
decompositions.py        the stream taken apart: layers, heads, neurons; made of component_stacks.py (rows),
                         residual_points.py (where) and projections.py (through a norm, along directions)
logit_attributions.py    what of it goes into the logits of tokens
files.py                 a cache as one safetensors file
recording.py             running a model so that only what attribution needs is cached
"""
