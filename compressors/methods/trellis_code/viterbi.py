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
def _step_of_one(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, bits: int, room: int, states: int
) -> None:  # pragma: no cover
    """`_step` of one window a state."""
    for state in range(states):
        at, a = state * LANES, (state >> bits) * LANES
        square, double = squares[state], doubles[state]
        for i in range(LANES):
            following[_U(at + i)] = cost[_U(a + i)] + (square + values[_U(i)] * double)
            back[_U(at + i)] = np.uint32(back[_U(at + i)]) << np.uint32(room)


@inlined
def _step_of_two(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, bits: int, room: int, states: int
) -> None:  # pragma: no cover
    """`_step` of two windows a state."""
    kept = np.uint32(255 if room == 1 else 0)  # a shift by a variable number would not be vectorised
    for state in range(states):
        at, a, b = state * LANES, (state >> bits) * LANES, ((states + state) >> bits) * LANES
        square0, double0 = squares[state], doubles[state]
        square1, double1 = squares[states + state], doubles[states + state]
        for i in range(LANES):
            value = values[_U(i)]
            best = cost[_U(a + i)] + (square0 + value * double0)
            best, which = _cheaper(best, _0, cost[_U(b + i)] + (square1 + value * double1), _1)
            following[_U(at + i)] = best
            back[_U(at + i)] = np.uint32((np.uint32(back[_U(at + i)]) << _1) & kept) | which


@inlined
def _step_of_four(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, bits: int, room: int, states: int
) -> None:  # pragma: no cover
    """`_step` of four windows a state."""
    kept = np.uint32(255 if room == 2 else 0)
    for state in range(states):
        at, w1, w2, w3 = state * LANES, states + state, 2 * states + state, 3 * states + state
        a, b, c, d = (state >> bits) * LANES, (w1 >> bits) * LANES, (w2 >> bits) * LANES, (w3 >> bits) * LANES
        square0, double0, square1, double1 = squares[state], doubles[state], squares[w1], doubles[w1]
        square2, double2, square3, double3 = squares[w2], doubles[w2], squares[w3], doubles[w3]
        for i in range(LANES):
            value = values[_U(i)]
            best = cost[_U(a + i)] + (square0 + value * double0)
            best, which = _cheaper(best, _0, cost[_U(b + i)] + (square1 + value * double1), _1)
            best, which = _cheaper(best, which, cost[_U(c + i)] + (square2 + value * double2), _2)
            best, which = _cheaper(best, which, cost[_U(d + i)] + (square3 + value * double3), _3)
            following[_U(at + i)] = best
            back[_U(at + i)] = np.uint32((np.uint32(back[_U(at + i)]) << _2) & kept) | which


@inlined
def _step_of_many(
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, bits: int, count: int, states: int
) -> None:  # pragma: no cover
    """`_step` of 8 windows a state or more, each choice in a byte; four in a loop: LLVM vectorises none with more."""
    for state in range(states):
        at = state * LANES
        for i in range(LANES):
            following[_U(at + i)], back[_U(at + i)] = _INFINITE, 0
        for first in range(0, count, 4):
            w0 = first * states + state
            w1, w2, w3 = w0 + states, w0 + 2 * states, w0 + 3 * states
            a, b, c, d = (w0 >> bits) * LANES, (w1 >> bits) * LANES, (w2 >> bits) * LANES, (w3 >> bits) * LANES
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
    cost: Any, following: Any, back: Any, values: Any, squares: Any, doubles: Any, bits: int, room: int, states: int
) -> None:  # pragma: no cover
    """One value of `LANES` rows, of `bits` bits: the cheapest window that ends in each state, and which it is.

    The windows of a state differ in their highest bits, as many as the next value has. The bytes of `back` take the
    choice in as their lowest `room` bits, and lose their highest ones.
    """
    count = len(squares) // states
    if count == 1:
        _step_of_one(cost, following, back, values, squares, doubles, bits, room, states)
    elif count == 2:
        _step_of_two(cost, following, back, values, squares, doubles, bits, room, states)
    elif count == 4:
        _step_of_four(cost, following, back, values, squares, doubles, bits, room, states)
    else:
        _step_of_many(cost, following, back, values, squares, doubles, bits, count, states)


@inlined
def choice_bits(bits: int) -> int:  # pragma: no cover
    """Bits of a byte that a choice is kept in where each value has `bits`: those of four windows or fewer share one."""
    return bits if 1 <= bits <= 2 else 8


@compiled("uint32[:, ::1](float32[:, ::1], float32[:, ::1], float32[:, ::1], int64[::1], int64[::1], int64)")
def encode(
    rows: Float32s, squares: Float32s, doubles: Float32s, kinds: Any, bits: Any, reach: int
) -> Any:  # pragma: no cover
    """The windows whose levels are nearest to the values of each row.

    A window is the value's own bits, lowest, and those before it; the state between two values is all of it but as many
    of its highest bits as the next value has. The row's bits are a ring: a first pass over the `reach` values on both
    sides of the place where the row begins finds the state there, the second pass keeps to it.

    It needs (steps + 8) * 2**(window + 5) bytes at most.

    Args:
        rows: (m, d) float32.
        squares: (kinds, 2**window) float32, for each kind of value the squares of the levels times a weight.
        doubles: the same of the levels times -2.
        kinds: (steps,) int64, the kind of each value.
        bits: (steps,) int64, those of each value, from 0 to 8 and the window. The first d values are of the row, the
            others may be anything.
        reach: at most steps // 2.

    Returns:
        (m, steps) uint32.
    """
    count, d = rows.shape
    steps, levels = len(bits), squares.shape[1]
    most = levels >> bits.min()
    cost, following = np.empty(most * LANES, np.float32), np.empty(most * LANES, np.float32)
    # Choices share bytes only where there are as many states at every value.
    room = choice_bits(bits.max()) if bits.max() == bits.min() else 8
    shared, mask = 8 // room, (1 << room) - 1
    back = np.empty((-(-steps // shared), most * LANES), np.uint8)
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
                states, kind = levels >> bits[(j + 1) % steps], kinds[j]
                _step(
                    cost, following, back[t // shared], values[j], squares[kind], doubles[kind], bits[j], room, states
                )
                cost, following = following, cost
            for i in range(lanes):
                state = begin[i]
                if not final:
                    state = 0
                    for other in range(levels >> bits[(length + offset) % steps]):
                        if cost[other * LANES + i] < cost[state * LANES + i]:
                            state = other
                for t in range(length - 1, -1 if final else reach - 1, -1):
                    j = (t + offset) % steps
                    later = min(length - 1 - t, shared - 1 - t % shared)  # choices that the byte took in afterwards
                    choice = (np.int64(back[t // shared, state * LANES + i]) >> (later * room)) & mask
                    window = choice * (levels >> bits[(j + 1) % steps]) + state
                    if final:
                        windows[start + i, t] = window
                    state = window >> bits[j]
                if not final:
                    begin[i] = state
    return windows
