"""The activations of one forward pass."""
