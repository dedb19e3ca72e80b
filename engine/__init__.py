"""Everything that computes: model loading, directions, the perturbed forward pass, metrics and experiments.

Knows nothing of terminals, of sessions or of where files live. Importing this package imports no torch;
the modules that need it are imported where they are used.
"""
