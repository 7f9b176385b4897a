"""The Viterbi algorithm (Forney 1973) for trellis codes whose window wraps round the row; compiled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]

LANES = 32
"""Rows worked on side by side: a multiple of what the vector units hold."""

UNREACHED = np.float32(1e30)
"""Cost of a state in which a row does not begin, beyond that of any path: `fastmath` takes every number for finite."""

_KEPT = os.access(Path(__file__).parent, os.W_OK)
"""Whether what is compiled can be kept beside this file; numba refuses to start where it cannot be kept anywhere."""

# Unsigned indices, or every access would first test for a negative one and nothing would be vectorised.
_U = np.uint64


@numba.njit(nogil=True, boundscheck=False, fastmath=True)  # type: ignore[untyped-decorator]
def _step(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, bits: int, states: int
) -> None:  # pragma: no cover
    """One value of `LANES` rows: the cheapest way into each state, and which predecessor it comes from."""
    for state in range(states):
        at, first = state * LANES, (state >> bits) * LANES
        second = ((states + state) >> bits) * LANES
        square0, double0 = squares[state], doubles[state]
        square1, double1 = squares[states + state], doubles[states + state]
        for i in range(LANES):
            value = values[_U(i)]
            cost0 = cost[_U(first + i)] + (square0 + value * double0)
            cost1 = cost[_U(second + i)] + (square1 + value * double1)
            less = cost1 < cost0
            following[_U(at + i)] = cost1 if less else cost0
            back[_U(at + i)] = np.uint8(1) if less else np.uint8(0)
        for other in range(2, 1 << bits):
            index = other * states + state
            third, which = (index >> bits) * LANES, np.uint8(other)
            square1, double1 = squares[index], doubles[index]
            for i in range(LANES):
                cost0 = following[_U(at + i)]
                cost1 = cost[_U(third + i)] + (square1 + values[_U(i)] * double1)
                less = cost1 < cost0
                following[_U(at + i)] = cost1 if less else cost0
                back[_U(at + i)] = which if less else back[_U(at + i)]


@numba.njit(nogil=True, boundscheck=False, cache=_KEPT)  # type: ignore[untyped-decorator]
def encode(rows: Float32s, levels: Float32s, bits: int, steps: int, reach: int) -> Any:  # pragma: no cover
    """The windows whose levels are nearest to the values of each row.

    A window is the value's own `bits` bits, lowest, and those before it; the state between two values is all of it but
    its highest `bits` bits. The row's bits are a ring: a first pass over the `reach` values on both sides of the place
    where the row begins finds the state there, the second pass keeps to it.

    Args:
        rows: (m, d) float32.
        levels: (2**window,) float32.
        bits: of a value.
        steps: values that the bytes of a row have room for, at least d; those beyond d may be anything.
        reach: at most steps // 2.

    Returns:
        (m, steps) uint32.
    """
    count, d = rows.shape
    states = len(levels) >> bits
    squares, doubles, nothing = levels * levels, np.float32(-2) * levels, np.zeros_like(levels)
    cost, following = np.empty(states * LANES, np.float32), np.empty(states * LANES, np.float32)
    back = np.empty((steps, states * LANES), np.uint8)
    values = np.zeros((steps, LANES), np.float32)
    begin = np.zeros(LANES, np.int64)
    windows = np.empty((count, steps), np.uint32)
    for start in range(0, count, LANES):
        lanes = min(LANES, count - start)
        for i in range(lanes):
            for j in range(d):
                values[j, i] = rows[start + i, j]
        for final in range(2):
            length = steps if final else 2 * reach
            offset = 0 if final else steps - reach
            cost[:] = UNREACHED if final else np.float32(0)
            for i in range(LANES):
                cost[begin[i] * LANES + i] = 0
            for t in range(length):
                j = (t + offset) % steps
                if j < d:
                    _step(cost, following, back[t], values[j], squares, doubles, bits, states)
                else:
                    _step(cost, following, back[t], values[j], nothing, nothing, bits, states)
                cost, following = following, cost
            for i in range(lanes):
                state = begin[i]
                if not final:
                    state = 0
                    for other in range(states):
                        if cost[other * LANES + i] < cost[state * LANES + i]:
                            state = other
                for t in range(length - 1, -1 if final else reach - 1, -1):
                    window = np.int64(back[t, state * LANES + i]) * states + state
                    if final:
                        windows[start + i, t] = window
                    state = window >> bits
                if not final:
                    begin[i] = state
    return windows
