"""The choice, its record and its report. Pure: no tracking store, no sweep.

May import `selector.measures`, and of `export` what the record holds of the exported model.
"""
