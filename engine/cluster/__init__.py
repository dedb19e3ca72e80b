"""The same recipe on many machines: actors of a Ray cluster hold the model, and one process hands out the work.

Ray is an extra, `dirscope[cluster]`, and imported by `crew` alone, when a cluster is asked for.
"""
