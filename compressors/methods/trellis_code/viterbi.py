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

_KEPT = os.access(Path(__file__).parent, os.W_OK)
"""Whether what is compiled can be kept beside this file; numba refuses to start where it cannot be kept anywhere."""

# Unsigned indices, or every access would first test for a negative one and nothing would be vectorised.
_U = np.uint64

_INFINITE, _ZERO, _ONE = np.float32(np.inf), np.uint32(0), np.uint32(1)


# No fastmath here: sums in the order in which they are written give the same choices on every processor. Choices are as
# wide as the costs until they are stored: LLVM does not vectorise a mixture of widths for AVX2.
@numba.njit(nogil=True, boundscheck=False)  # type: ignore[untyped-decorator]
def _cheaper(best: Any, which: Any, cost: Any, number: Any) -> Any:  # pragma: no cover
    """The cheaper of two ways and its number; the first one where they cost the same."""
    less = cost < best
    return cost if less else best, number if less else which


@numba.njit(nogil=True, boundscheck=False)  # type: ignore[untyped-decorator]
def _cheapest(best: Any, which: Any, number: Any, value: Any, costs: Any, terms: Any) -> Any:  # pragma: no cover
    """The cheapest of the ways so far and four more, numbered from `number` on."""
    cost0, cost1, cost2, cost3 = costs
    square0, double0, square1, double1, square2, double2, square3, double3 = terms
    best, which = _cheaper(best, which, cost0 + (square0 + value * double0), number)
    best, which = _cheaper(best, which, cost1 + (square1 + value * double1), number + _ONE)
    best, which = _cheaper(best, which, cost2 + (square2 + value * double2), number + np.uint32(2))
    return _cheaper(best, which, cost3 + (square3 + value * double3), number + np.uint32(3))


@numba.njit(nogil=True, boundscheck=False)  # type: ignore[untyped-decorator]
def _step_of_two(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, states: int
) -> None:  # pragma: no cover
    """`_step` of one bit: two predecessors."""
    for state in range(states):
        at, first, second = state * LANES, (state >> 1) * LANES, ((states + state) >> 1) * LANES
        square0, double0 = squares[state], doubles[state]
        square1, double1 = squares[states + state], doubles[states + state]
        for i in range(LANES):
            value = values[_U(i)]
            best = cost[_U(first + i)] + (square0 + value * double0)
            best, which = _cheaper(best, _ZERO, cost[_U(second + i)] + (square1 + value * double1), _ONE)
            following[_U(at + i)] = best
            back[_U(at + i)] = which


@numba.njit(nogil=True, boundscheck=False)  # type: ignore[untyped-decorator]
def _step(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, bits: int, states: int
) -> None:  # pragma: no cover
    """One value of `LANES` rows: the cheapest way into each state, and which predecessor it comes from."""
    if bits == 1:
        _step_of_two(cost, following, back, values, squares, doubles, states)
        return
    for state in range(states):
        at = state * LANES
        for group in range(0, 1 << bits, 4):
            w0 = group * states + state
            w1, w2, w3 = w0 + states, w0 + 2 * states, w0 + 3 * states
            a, b, c, d = (w0 >> bits) * LANES, (w1 >> bits) * LANES, (w2 >> bits) * LANES, (w3 >> bits) * LANES
            low = (squares[w0], doubles[w0], squares[w1], doubles[w1])
            terms = (*low, squares[w2], doubles[w2], squares[w3], doubles[w3])
            number = np.uint32(group)
            # Two loops: with the test inside of it the loop is slower.
            if group == 0:
                for i in range(LANES):
                    costs = (cost[_U(a + i)], cost[_U(b + i)], cost[_U(c + i)], cost[_U(d + i)])
                    best, which = _cheapest(_INFINITE, _ZERO, _ZERO, values[_U(i)], costs, terms)
                    following[_U(at + i)] = best
                    back[_U(at + i)] = which
            else:
                for i in range(LANES):
                    costs = (cost[_U(a + i)], cost[_U(b + i)], cost[_U(c + i)], cost[_U(d + i)])
                    before = np.uint32(back[_U(at + i)])
                    best, which = _cheapest(following[_U(at + i)], before, number, values[_U(i)], costs, terms)
                    following[_U(at + i)] = best
                    back[_U(at + i)] = which


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
            cost[:] = np.inf if final else 0
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
