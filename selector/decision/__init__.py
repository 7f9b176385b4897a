"""The choice, its record and its report. Pure: no tracking store, no sweep.

Imports `selector.measures`.
"""
