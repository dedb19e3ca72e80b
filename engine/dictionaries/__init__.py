"""Sparse autoencoders: loading the right one, and asking it for features. Torch and sae-lens live in the modules."""
