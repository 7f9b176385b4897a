"""A compressed table as a torch module, in the place of an `nn.EmbeddingBag`."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.ops import Ops
from eigenselect.export.torch.module import IDS, Bags, CompressedEmbedding

BAGS = "bags"

MODES = ("sum", "mean")
"""What may be made of a bag: what is linear in its rows."""


class CompressedEmbeddingBag(CompressedEmbedding):
    """Sums or averages bags of rows of a compressed table as `nn.EmbeddingBag` does; nothing in it is trained.

    Rows are summed before a matrix is applied to them: once a bag. As for `CompressedEmbedding` otherwise.

    Attributes:
        mode: `sum` or `mean`.
        include_last_offset: whether the last of the offsets is the end of the last bag.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors.payloads.dense import Dense
        >>> bag = CompressedEmbeddingBag(Dense(np.array([[1, 2], [3, 4]], np.float16)))
        >>> bag(torch.tensor([0, 1, 1]), torch.tensor([0, 2]))
        tensor([[2., 3.],
                [3., 4.]])
    """

    def __init__(
        self,
        payload: Payload,
        mode: str = "mean",
        padding_idx: int | None = None,
        include_last_offset: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take the arrays of `payload`, copied to `device`. Rows at `padding_idx` are not part of a bag.

        Raises:
            ValueError: a mode that is not linear, or as for `CompressedEmbedding`.
        """
        super().__init__(payload, padding_idx, device, dtype)
        if mode not in MODES:
            raise ValueError(f"mode = {mode!r}: it must be {' or '.join(MODES)}")
        self.mode, self.include_last_offset = mode, include_last_offset

    def _vectors(self, payload: Payload, ops: Ops[str]) -> str:
        return payload.pooled(IDS, ops, lambda rows: ops.sum_bags(rows, BAGS))

    def forward(
        self,
        ids: torch.Tensor,
        offsets: torch.Tensor | None = None,
        per_sample_weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The bags of `ids`, (b, k).

        Args:
            ids: int32 or int64, (t,) with `offsets`, or (b, length) without.
            offsets: (b,) where each bag begins.
            per_sample_weights: of the shape of `ids`, with the mode `sum`.

        Raises:
            IndexError: as for `CompressedEmbedding`.
            ValueError: ids of another type or shape, or weights with another mode.
        """
        if (ids.dim(), offsets is None) not in ((1, False), (2, True)):
            raise ValueError(f"ids are {ids.dim()}-D: they must be 1-D with offsets, or 2-D without")
        if per_sample_weights is not None and self.mode != "sum":
            raise ValueError(f"per_sample_weights are given with mode = {self.mode!r}: they are for the mode 'sum'")
        if offsets is None:
            offsets = torch.arange(ids.shape[0], device=ids.device) * ids.shape[1]
            ids = ids.flatten()
            per_sample_weights = None if per_sample_weights is None else per_sample_weights.flatten()
        elif self.include_last_offset:
            offsets = offsets[:-1]
        offsets = offsets.long()
        if self.padding_idx is not None:
            there = ids != self.padding_idx
            per_sample_weights = there.float() if per_sample_weights is None else per_sample_weights * there
        sums = self._looked_up(ids, **{BAGS: Bags(offsets, per_sample_weights)})
        return sums if self.mode == "sum" else sums / self._counts(ids, offsets).to(sums.dtype)

    def _counts(self, ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """(b, 1) rows of each bag, at least 1."""
        ends = torch.cat([offsets[1:], torch.full((1,), ids.shape[0], device=ids.device)])
        if self.padding_idx is not None:
            totals = pad((ids != self.padding_idx).long(), (1, 0)).cumsum(0)
            ends, offsets = totals[ends], totals[offsets]
        return (ends - offsets).clamp(min=1)[:, None]

    def extra_repr(self) -> str:
        """As `CompressedEmbedding` says it, with the mode."""
        return f"{super().extra_repr()}, mode={self.mode!r}"
