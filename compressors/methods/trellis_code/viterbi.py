"""The Viterbi algorithm (Forney 1973) for trellis codes whose window wraps round the row; compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.compiled import compiled, inlined

Float32s = npt.NDArray[np.float32]

LANES = 32
"""Rows worked on side by side: a multiple of what the vector units hold."""

# Unsigned indices, or every access would first test for a negative one and nothing would be vectorised.
_U = np.uint64

_INFINITE = np.float32(np.inf)

_0, _1, _2, _3 = (np.uint32(number) for number in range(4))


# No fastmath here: sums in the order in which they are written give the same choices on every processor. Choices are as
# wide as the costs until they are stored: LLVM does not vectorise a mixture of widths for AVX2.
@inlined
def _cheaper(best: Any, which: Any, cost: Any, number: Any) -> Any:  # pragma: no cover
    """The cheaper of two ways and its number; the first one where they cost the same."""
    less = cost < best
    return cost if less else best, number if less else which


@inlined
def _step_of_two(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, states: int
) -> None:  # pragma: no cover
    """`_step` of one bit: two predecessors."""
    for state in range(states):
        at, a, b = state * LANES, (state >> 1) * LANES, ((states + state) >> 1) * LANES
        square0, double0 = squares[state], doubles[state]
        square1, double1 = squares[states + state], doubles[states + state]
        for i in range(LANES):
            value = values[_U(i)]
            best = cost[_U(a + i)] + (square0 + value * double0)
            best, which = _cheaper(best, _0, cost[_U(b + i)] + (square1 + value * double1), _1)
            following[_U(at + i)] = best
            back[_U(at + i)] = np.uint32(np.uint32(back[_U(at + i)]) << _1) | which


@inlined
def _step_of_four(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, states: int
) -> None:  # pragma: no cover
    """`_step` of two bits: four predecessors."""
    for state in range(states):
        at, w1, w2, w3 = state * LANES, states + state, 2 * states + state, 3 * states + state
        a, b, c, d = (state >> 2) * LANES, (w1 >> 2) * LANES, (w2 >> 2) * LANES, (w3 >> 2) * LANES
        square0, double0, square1, double1 = squares[state], doubles[state], squares[w1], doubles[w1]
        square2, double2, square3, double3 = squares[w2], doubles[w2], squares[w3], doubles[w3]
        for i in range(LANES):
            value = values[_U(i)]
            best = cost[_U(a + i)] + (square0 + value * double0)
            best, which = _cheaper(best, _0, cost[_U(b + i)] + (square1 + value * double1), _1)
            best, which = _cheaper(best, which, cost[_U(c + i)] + (square2 + value * double2), _2)
            best, which = _cheaper(best, which, cost[_U(d + i)] + (square3 + value * double3), _3)
            following[_U(at + i)] = best
            back[_U(at + i)] = np.uint32(np.uint32(back[_U(at + i)]) << _2) | which


@inlined
def _step_of_sixteen(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, states: int
) -> None:  # pragma: no cover
    """`_step` of four bits: 16 predecessors, four in a loop: LLVM does not vectorise one with more."""
    for state in range(states):
        at = state * LANES
        for i in range(LANES):
            following[_U(at + i)], back[_U(at + i)] = _INFINITE, 0
        for first in range(0, 16, 4):
            w0 = first * states + state
            w1, w2, w3 = w0 + states, w0 + 2 * states, w0 + 3 * states
            a, b, c, d = (w0 >> 4) * LANES, (w1 >> 4) * LANES, (w2 >> 4) * LANES, (w3 >> 4) * LANES
            square0, double0, square1, double1 = squares[w0], doubles[w0], squares[w1], doubles[w1]
            square2, double2, square3, double3 = squares[w2], doubles[w2], squares[w3], doubles[w3]
            n0, n1, n2, n3 = np.uint32(first), np.uint32(first + 1), np.uint32(first + 2), np.uint32(first + 3)
            for i in range(LANES):
                value, best, which = values[_U(i)], following[_U(at + i)], np.uint32(back[_U(at + i)])
                best, which = _cheaper(best, which, cost[_U(a + i)] + (square0 + value * double0), n0)
                best, which = _cheaper(best, which, cost[_U(b + i)] + (square1 + value * double1), n1)
                best, which = _cheaper(best, which, cost[_U(c + i)] + (square2 + value * double2), n2)
                best, which = _cheaper(best, which, cost[_U(d + i)] + (square3 + value * double3), n3)
                following[_U(at + i)] = best
                back[_U(at + i)] = which


@inlined
def _step(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, bits: int, states: int
) -> None:  # pragma: no cover
    """One value of `LANES` rows: the cheapest way into each state, and which predecessor it comes from.

    The bytes of `back` take the choice in as their lowest `choice_bits(bits)` bits, and lose their highest ones.
    """
    if bits == 1:
        _step_of_two(cost, following, back, values, squares, doubles, states)
    elif bits == 2:
        _step_of_four(cost, following, back, values, squares, doubles, states)
    else:
        _step_of_sixteen(cost, following, back, values, squares, doubles, states)


@inlined
def choice_bits(bits: int) -> int:  # pragma: no cover
    """Bits of a byte that a choice is kept in: those of four predecessors or fewer share one."""
    return bits if bits < 4 else 8


@compiled("uint32[:, ::1](float32[:, ::1], float32[::1], int64, int64, int64)")
def encode(rows: Float32s, levels: Float32s, bits: int, steps: int, reach: int) -> Any:  # pragma: no cover
    """The windows whose levels are nearest to the values of each row.

    A window is the value's own `bits` bits, lowest, and those before it; the state between two values is all of it but
    its highest `bits` bits. The row's bits are a ring: a first pass over the `reach` values on both sides of the place
    where the row begins finds the state there, the second pass keeps to it.

    It needs at most (steps + 64) * 2**(window + 1) bytes.

    Args:
        rows: (m, d) float32.
        levels: (2**window,) float32.
        bits: of a value, 1, 2 or 4.
        steps: values that the bytes of a row have room for, at least d; those beyond d may be anything.
        reach: at most steps // 2.

    Returns:
        (m, steps) uint32.
    """
    count, d = rows.shape
    states = len(levels) >> bits
    squares, doubles, nothing = levels * levels, np.float32(-2) * levels, np.zeros_like(levels)
    cost, following = np.empty(states * LANES, np.float32), np.empty(states * LANES, np.float32)
    room = choice_bits(bits)
    shared, mask = 8 // room, (1 << room) - 1
    back = np.empty((-(-steps // shared), states * LANES), np.uint8)
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
                # One call, which is compiled once.
                terms = (squares, doubles) if j < d else (nothing, nothing)
                _step(cost, following, back[t // shared], values[j], terms[0], terms[1], bits, states)
                cost, following = following, cost
            for i in range(lanes):
                state = begin[i]
                if not final:
                    state = 0
                    for other in range(states):
                        if cost[other * LANES + i] < cost[state * LANES + i]:
                            state = other
                for t in range(length - 1, -1 if final else reach - 1, -1):
                    later = min(length - 1 - t, shared - 1 - t % shared)  # choices that the byte took in afterwards
                    choice = (np.int64(back[t // shared, state * LANES + i]) >> (later * room)) & mask
                    window = choice * states + state
                    if final:
                        windows[start + i, t] = window
                    state = window >> bits
                if not final:
                    begin[i] = state
    return windows
