"""Items that users rate, with the table's rows as the vectors of the items.

A file has a user, an item and a rating a line, with tabs between; the item is a token of the table. `NAME.train.tsv` is
what is known of the users, `NAME.test.tsv` what is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from eigenselect.selector.evidence.tasks.base import Ids, Known, Task, Vectors, Vocabulary, lines
from eigenselect.selector.evidence.tasks.pairs import average_precision
from eigenselect.selector.evidence.tasks.sentences import FEWEST

Floats = npt.NDArray[np.float64]

PENALTY = 10.0
"""Of the squares of what is fitted, beside the squared errors of a user's ratings."""


@dataclass(frozen=True)
class Ratings:
    """Ratings of one part.

    Attributes:
        users: (n,) int64.
        items: (n,) int64.
        given: (n,) float64.
    """

    users: Ids
    items: Ids
    given: Floats


class RatingTask(Task):
    """Something predicted of users.

    Args:
        name: of the task.
        files: the train part, and the test part.
    """

    def __init__(self, name: str, files: Sequence[Path]) -> None:
        parts = {path.name.removesuffix(".tsv").partition(".")[2]: path for path in files}
        if {*parts} != {"train", "test"}:
            raise ValueError(
                f"{files[0].parent} has {', '.join(path.name for path in files)}: name NAME.train.tsv and NAME.test.tsv"
            )
        users, items = Vocabulary(), Vocabulary()
        self.name, self.files = name, files
        self.train, self.test = (_read(parts[part], users, items) for part in ("train", "test"))
        self.words, self.users = items.words, len(users.words)

    def missing(self, known: Known) -> float:  # noqa: D102
        return float(1 - known[self.test.items].mean())


class RatingRegression(RatingTask):
    """How much of the ratings' variance a factorisation machine explains, with the item vectors frozen: R².

    Rating = mean + user's bias + item's bias + ⟨user's vector, item's vector⟩ (Rendle 2010, with the user and the item
    as its two fields); biases and user vectors are fitted to the train part with `PENALTY`, the biases first. Item
    vectors are divided by one number, so that their mean square is 1.
    """

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        square = float((vectors.astype(np.float64) ** 2).mean())
        features = vectors.astype(np.float64) / (np.sqrt(square) if square > 0 else 1)
        mean = self.train.given.mean()
        left = self.train.given - mean
        of_items = _bias(self.train.items, left, len(features))
        of_users = _bias(self.train.users, left - of_items[self.train.items], self.users)
        left = left - of_items[self.train.items] - of_users[self.train.users]
        predicted = mean + of_items[self.test.items] + of_users[self.test.users]
        for mine, asked in zip(*(_by_user(part.users, self.users) for part in (self.train, self.test)), strict=True):
            x = features[self.train.items[mine]]
            fitted = np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ left[mine])
            predicted[asked] += features[self.test.items[asked]] @ fitted
        spread = ((self.test.given - self.test.given.mean()) ** 2).sum()
        return float(1 - ((self.test.given - predicted) ** 2).sum() / spread)


class NextItems(RatingTask):
    """Average precision of the items that a user will like, by the cosine with the mean of those liked before.

    An item is liked that a user rates no lower than the mean of the user's train part; what is in that part is not
    predicted. The mean is over the users who have liked something in both parts.
    """

    def score(self, vectors: Vectors, known: Known, seed: int) -> float:  # noqa: D102
        rows = vectors.astype(np.float64)
        counts = np.bincount(self.train.users, minlength=self.users)
        usual = np.bincount(self.train.users, self.train.given, self.users) / np.maximum(counts, 1)
        liked, wanted = (
            sparse.csr_array(
                ((part.given >= usual[part.users]).astype(np.float64), (part.users, part.items)),
                shape=(self.users, len(rows)),
            )
            for part in (self.train, self.test)
        )
        lengths = np.linalg.norm(rows, axis=1)
        nearness = (liked @ rows) @ (rows / np.where(lengths > 0, lengths, 1)[:, None]).T
        nearness[self.train.users, self.train.items] = -np.inf
        right = wanted.toarray() > 0
        right[self.train.users, self.train.items] = False
        asked = np.flatnonzero(right.any(axis=1) & (liked.sum(axis=1) > 0))
        return float(np.mean([average_precision(nearness[user], right[user]) for user in asked]))


def _bias(of: Ids, left: Floats, count: int) -> Floats:
    """(count,): what is left of the ratings of each user or item, on average, drawn towards 0 by `PENALTY`."""
    found: Floats = np.bincount(of, left, count) / (np.bincount(of, minlength=count) + PENALTY)
    return found


def _by_user(users: Ids, count: int) -> list[Ids]:
    """The places of each user's ratings."""
    order = np.argsort(users, kind="stable")
    return np.split(order, np.searchsorted(users[order], np.arange(1, count)))


def _read(path: Path, users: Vocabulary, items: Vocabulary) -> Ratings:
    found: list[tuple[str, str, float]] = []
    for number, line in enumerate(lines(path), 1):
        try:
            user, item, rating = line.split("\t")
            found.append((user, item, float(rating)))
            if not np.isfinite(found[-1][2]):
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{path}, line {number} is {line[:40]!r}: it must be a user, a tab, an item, a tab, a rating"
            ) from None
    if len(found) < FEWEST:
        raise ValueError(f"{path} has {len(found)} ratings: at least {FEWEST} are needed")
    return Ratings(
        np.array(users.ids(user for user, _, _ in found), np.int64),
        np.array(items.ids(item for _, item, _ in found), np.int64),
        np.array([rating for _, _, rating in found]),
    )
