"""Colours and symbols of the methods, the same in every picture: any two differ in both, for whoever sees no colour."""

from __future__ import annotations

from collections.abc import Iterable

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#A6761D")
"""Apart for every common kind of colour vision (Okabe and Ito 2008), grey and brown in place of black and yellow."""

SYMBOLS = {"circle": "o", "square": "s", "diamond": "D", "up": "^", "down": "v", "plus": "P", "cross": "X"}
"""Symbol -> matplotlib's marker of it."""


def styles(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Method -> its colour and symbol, by the order of the names.

    >>> styles(["KMeans", "Uniform", "KMeans"])
    {'KMeans': ('#0072B2', 'circle'), 'Uniform': ('#D55E00', 'square')}
    """
    symbols = [*SYMBOLS]
    return {
        name: (COLOURS[place % len(COLOURS)], symbols[place % len(symbols)])
        for place, name in enumerate(sorted({*methods}))
    }
