"""Values of a model that its inputs do not change, read by rows and never computed whole.

`constant` says what one is, `tracer` finds them, and each kind of operator that makes one of others has a file: one
more operator is a function in one of these, and its line in `tracer.FORMS`.
"""
