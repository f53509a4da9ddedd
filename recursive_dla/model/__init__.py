"""A model as uniform weights, whatever its architecture; its tokens, and how it is loaded.

weights.py               one read-only view of a decoder-only transformer's weights
transformer_lens.py      from a TransformerLens model to that view; nothing else here knows TransformerLens
architectures.py         which architectures are supported, and what cannot be read off their modules
activation_functions.py  GELU and the others: the function, its slope from zero, its derivative
tokens.py                texts to token ids and back
loading.py, demo.py      load_model, and the model that needs no hub
"""
