"""The cores of a tensor train on one side of a cut."""

from __future__ import annotations

import math

import numpy as np

from eigenselect.compressors.methods.tensor_train.unfolding import Float32s, gram, leading, orthonormal

GRAM_BYTES = 1 << 25
"""Of the float64 blocks that the Gram matrix of a half is summed over."""


class Half:
    """One or two neighbouring cores, those on one side of the cut, whose bond at the cut stays open.

    Attributes:
        rows: sizes of the digits of the row's number, from the end of the train to the cut.
        columns: likewise of the column's number.
        rank: of the bond between the two cores; 1 with one core.
        right: whether it is the right half, where the digit at the cut is the most significant one.
        outer: (rows * columns, rank) float32 with orthonormal columns: the core at the end; (1, 1) with one core.
        inner: (rank, rows, columns, r) float32: the core at the cut.
    """

    def __init__(self, rows: tuple[int, ...], columns: tuple[int, ...], rank: int, right: bool) -> None:
        self.rows, self.columns, self.rank, self.right = rows, columns, rank, right
        self.outer: Float32s = np.zeros((0, 0), np.float32)
        self.inner: Float32s = np.zeros((0, 0, 0, 0), np.float32)

    def empty(self, count: int) -> Float32s:
        """Room for `count` open directions; the digit at the end of the train is first, the directions are last."""
        pairs = zip(self.rows, self.columns, strict=True)
        return np.empty((*(size for pair in pairs for size in pair), count), np.float32)

    def unfolded(self, values: Float32s) -> Float32s:
        """A view of such an array with its digits in the order of the unfolding: those of the row, of the column."""
        order = range(len(self.rows))[:: -1 if self.right else 1]
        return values.transpose(*(2 * i for i in order), *(2 * i + 1 for i in order), 2 * len(order))

    def matrix(self, values: Float32s) -> Float32s:
        """Such an array as (digits of the unfolding, directions)."""
        return np.ascontiguousarray(self.unfolded(values)).reshape(-1, values.shape[-1])

    def store(self, values: Float32s, matrix: Float32s) -> None:
        """Write into `values` what `matrix` gives."""
        view = self.unfolded(values)
        view[...] = matrix.reshape(view.shape)

    def fit(self, values: Float32s) -> None:
        """The cores whose product is closest to `values`: an orthonormal core at the end, the weights at the cut."""
        count = values.shape[-1]
        inner = (self.rows[-1], self.columns[-1], count)
        flat = values.reshape(-1, math.prod(inner))
        if self.rank == len(flat):
            self.outer = np.eye(self.rank, dtype=np.float32)
        else:
            total = np.zeros((len(flat), len(flat)))
            step = max(1, GRAM_BYTES // (8 * len(flat)))
            for start in range(0, flat.shape[1], step):
                total += gram(flat[:, start : start + step].T)
            self.outer = leading(total, self.rank)[0].astype(np.float32)
        self.inner = (self.outer.T @ flat).reshape(self.rank, *inner)

    def orthonormalise(self) -> None:
        """Make the open directions orthonormal; they span what they did."""
        self.inner = orthonormal(self.inner.reshape(-1, self.inner.shape[-1]))[0].reshape(self.inner.shape)

    def product(self, out: Float32s) -> None:
        """The product of the cores, into an array as `empty` gives."""
        np.matmul(self.outer, self.inner.reshape(self.rank, -1), out=out.reshape(len(self.outer), -1))

    def cores(self) -> list[Float32s]:
        """The cores (n_i, r_i, d_i, r_(i+1)) in the order of the train."""
        axes = (1, 3, 2, 0) if self.right else (1, 0, 2, 3)
        found = [np.ascontiguousarray(self.inner.transpose(axes))]
        if len(self.rows) > 1:
            end = self.outer.reshape(self.rows[0], self.columns[0], self.rank)
            outer = np.ascontiguousarray(end.transpose(0, 2, 1)[..., None] if self.right else end[:, None])
            found.insert(len(found) if self.right else 0, outer)
        return found
