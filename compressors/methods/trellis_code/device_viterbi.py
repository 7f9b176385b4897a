"""The Viterbi algorithm of `viterbi`, by torch on the device that is used: the same sums, and so the same windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eigenselect.compressors.device import back, put

Float32s = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

AT_ONCE = 1 << 30
"""Bytes that rows which are worked on side by side take: their choices, and what one value costs them."""


def encode(
    rows: Float32s, squares: Float32s, doubles: Float32s, kinds: Ints, bits: Ints, reach: int
) -> npt.NDArray[np.uint32]:
    """As `viterbi.encode`, whose arguments and result these are."""
    levels = squares.shape[1]
    ring = _Ring(put(squares), put(doubles), kinds.tolist(), bits.tolist())
    at_once = max(1, AT_ONCE // int((levels >> bits).sum() + 12 * levels))
    parts = (put(rows[start : start + at_once]) for start in range(0, len(rows), at_once))
    return np.concatenate([back(ring.windows(part, reach)) for part in parts]).astype(np.uint32)


@dataclass(frozen=True)
class _Ring:
    """The values of a row, the last of which the first follows.

    Attributes:
        squares: (kinds, 2**window), see `viterbi.encode`.
        doubles: likewise.
        kinds: of each value.
        bits: of each value.
    """

    squares: Tensor
    doubles: Tensor
    kinds: list[int]
    bits: list[int]

    def windows(self, rows: Tensor, reach: int) -> Tensor:
        """(m, steps) int64 of the rows (m, d)."""
        count, steps = len(rows), len(self.bits)
        values = rows.new_zeros(steps, count)
        values[: rows.shape[1]] = rows.T
        cost, choices = self._forward(values, steps - reach, 2 * reach, rows.new_zeros(self._states(-reach), count))
        _, begin = self._backward(choices, cost.argmin(dim=0), steps - reach, reach)
        cost = rows.new_full((self._states(0), count), torch.inf)
        cost[begin, torch.arange(count, device=rows.device)] = 0
        windows, _ = self._backward(self._forward(values, 0, steps, cost)[1], begin, 0, 0)
        return torch.stack(windows, dim=1)

    def _states(self, place: int) -> int:
        """How many there are before the value at a place, counted round the ring."""
        return int(self.squares.shape[1]) >> self.bits[place % len(self.bits)]

    def _forward(self, values: Tensor, start: int, length: int, cost: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The cost of each state after `length` values from `start` on, and the choices that lead there.

        A choice is the highest bits of a window; of those that cost the same it is the first, as `min` has it.
        """
        choices = []
        for place in range(start, start + length):
            j = place % len(self.bits)
            square, double = (each[self.kinds[j], :, None] for each in (self.squares, self.doubles))
            ways = cost.repeat_interleave(1 << self.bits[j], dim=0) + (square + values[j] * double)
            cost, choice = ways.view(-1, self._states(place + 1), values.shape[1]).min(dim=0)
            choices.append(choice.byte())
        return cost, choices

    def _backward(self, choices: list[Tensor], state: Tensor, start: int, stop: int) -> tuple[list[Tensor], Tensor]:
        """The windows of the choices from `stop` on that lead to the state of each row, and the state before them."""
        rows, windows = torch.arange(len(state), device=state.device), []
        for t in range(len(choices) - 1, stop - 1, -1):
            window = choices[t][state, rows].long() * self._states(start + t + 1) + state
            windows.append(window)
            state = window >> self.bits[(start + t) % len(self.bits)]
        return windows[::-1], state
