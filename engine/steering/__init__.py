"""Steering: what a vector added to the residual stream does to what the model writes."""
