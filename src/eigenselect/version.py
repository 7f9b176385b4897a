"""The version of this program. The innermost module: everything may import it."""

__version__ = "0.1.0"
