"""Files that nobody wrote: every reader of the project on them. `make fuzz`, or `python -m tests.fuzz --help`.

`mutations` changes files, `targets` says what reads which, `__main__` tries many in processes that can be killed.
"""
