"""What is tried: the budget, the candidates that a configuration names, and the digests that identify them.

Imports `selector.measures` and `selector.sources`.
"""
