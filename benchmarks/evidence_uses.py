"""What a table is used for, and the measure that predicts best what it then reaches: sections of docs/evidence.md.

A measure is chosen on some tables and tasks, and reported on other tables with other tasks. Selection errors are
compared with those of EOS on the same candidates in the same resamples; the p-values of all comparisons of a use are
corrected together (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from figures import cell, grid, number
from scipy.special import ndtr
from scipy.stats import rankdata

from eigenselect.selector.decision import uses
from eigenselect.selector.evidence.analysis import statistics
from eigenselect.selector.evidence.analysis.statistics import equal_bytes, interval, rounded, samples, selection_error
from eigenselect.selector.measures import higher_is_better

Runs = Mapping[str, Mapping[str, Any]]
"""Name of a run -> what `evidence.keep` wrote of it."""

Floats = npt.NDArray[np.float64]

EOS = "eos"

SIZES = (0.04, 0.08, 0.16)
"""Budgets, in shares of the float32 table: room for about 1, 2 and 4 bits an entry."""

SHOWN = 4
"""Candidates of `plain`."""

LIMIT = 0.05
"""Of the corrected p-values."""

WANTED = 0.6
"""A selection error of at most this share of EOS's would make another measure worth its while anywhere."""


@dataclass(frozen=True)
class Use:
    """A use of tables.

    Attributes:
        kinds: what the names of its tasks begin with.
        tables: runs on which a measure is chosen, with `tasks`.
        tasks: as their names are.
    """

    kinds: tuple[str, ...]
    tables: tuple[str, ...]
    tasks: tuple[str, ...]

    def chosen_on(self, runs: Runs) -> list[tuple[str, str]]:
        """Runs and tasks on which a measure is chosen."""
        return [
            (name, task) for name in self.tables if name in runs for task in self.tasks if task in scored(runs[name])
        ]

    def reported_on(self, runs: Runs) -> list[tuple[str, str]]:
        """Runs and tasks of which neither the table nor the task was looked at before."""
        return [
            (name, task)
            for name in runs
            if name not in self.tables
            for task in scored(runs[name])
            if task not in self.tasks and task.startswith(self.kinds)
        ]


USES = {
    "frozen": Use(("sts_", "paraphrase_", "wordsim_"), ("glove100", "wordpieces"), ("sts_STS-B.train", "sts_SICK")),
    "retrieval": Use(("search_", "next_"), ("glove100", "wordpieces"), ("search_squad", "search_SICK")),
    "trained": Use(("linear_", "rating_"), (), ()),
}

TITLES = {
    "wordllama": "WordLlama 256-d",
    "glove50": "GloVe 50-d",
    "glove100": "GloVe 100-d",
    "english300": "English 300-d",
    "wordpieces": "WordPiece 384-d",
    "movielens": "MovieLens 32-d",
}


def scored(run: Mapping[str, Any]) -> list[str]:
    """The tasks of a run."""
    return sorted({task for row in run["results"] for task in row["scores"]})


def measured(runs: Runs) -> list[str]:
    """The measures that every candidate of every run has, one of each group that always agrees."""
    rows = [row["measures"] for run in runs.values() for row in run["results"]]
    common = [key for key in rows[0] if all(key in row for row in rows)]
    orders: dict[tuple[float, ...], str] = {}
    for key in sorted(common, key=lambda key: (key != EOS, len(key), key)):
        signed = [[_sign(key) * row["measures"][key] for row in run["results"]] for run in runs.values()]
        ranks = tuple(rank for values in signed for rank in rankdata(rounded(np.array(values))))
        orders.setdefault(ranks, key)
    return [key for key in common if key in orders.values()]


def _sign(key: str) -> int:
    return 1 if higher_is_better(key) else -1


def _column(run: Mapping[str, Any], of: str, key: str) -> dict[str, list[float]]:
    """Candidate -> a measure, more is better, or a score, at each of its seeds."""
    found: dict[str, list[float]] = {}
    for row in run["results"]:
        sign = _sign(key) if of == "measures" else 1
        found.setdefault(row["candidate"], []).append(sign * row[of][key])
    return found


def _means(run: Mapping[str, Any], of: str, key: str) -> Floats:
    return rounded(np.array([np.mean(values) for values in _column(run, of, key).values()]))


def _nbytes(run: Mapping[str, Any]) -> dict[str, int]:
    return {row["candidate"]: row["nbytes"] for row in run["results"]}


def error(run: Mapping[str, Any], key: str, task: str, *, near: bool = False) -> float:
    """The selection error of a measure on a task, over all pairs or those of equal bytes."""
    return float(selection_error(_means(run, "measures", key), _means(run, "scores", task), _pairs(run, near=near)))


def _pairs(run: Mapping[str, Any], *, near: bool) -> npt.NDArray[np.bool_]:
    """Which pairs of candidates count: all, or those of equal bytes."""
    nbytes = np.array([*_nbytes(run).values()])
    different = ~np.eye(len(nbytes), dtype=np.bool_)
    return different & equal_bytes(nbytes) if near else different


def error_of_others(run: Mapping[str, Any], task: str, kinds: tuple[str, ...], *, near: bool = False) -> float | None:
    """The same where candidates are ordered by their mean rank on the other tasks of a use: about what can be reached.

    None where there is no other.
    """
    others = [other for other in scored(run) if other != task and other.startswith(kinds)]
    if not others:
        return None
    ranks = np.mean([rankdata(_means(run, "scores", other)) for other in others], axis=0)
    return float(selection_error(ranks, _means(run, "scores", task), _pairs(run, near=near)))


def mean_error(runs: Runs, key: str, places: Sequence[tuple[str, str]], *, near: bool = False) -> float:
    """Mean selection error over runs and tasks."""
    return float(np.mean([error(runs[name], key, task, near=near) for name, task in places]))


def choice(runs: Runs, use: str) -> str:
    """The measure of least mean selection error where it is chosen; EOS, the published one, where nothing is."""
    places = USES[use].chosen_on(runs)
    return min(measured(runs), key=lambda key: mean_error(runs, key, places)) if places else EOS


def set_by(runs: Runs, use: str) -> str:
    """The criterion that `use` sets, for tables whose rows have weights."""
    rows = [row["measures"] for run in runs.values() for row in run["results"]]
    return uses.USES[use].decides([key for key in rows[0] if all(key in row for row in rows)]) or EOS


def sampled(run: Mapping[str, Any], key: str, task: str) -> Floats:
    """The selection error, and that of each resample of the candidates."""
    found = samples(_column(run, "measures", key), _column(run, "scores", task), _nbytes(run))
    return found["selection_error"]


def loss(run: Mapping[str, Any], key: str, task: str) -> Floats:
    """What is lost of the score by the measure's choice, mean over the budgets `SIZES`; and of each resample."""
    names = [*_nbytes(run)]
    size = 4 * run["table"]["n"] * run["table"]["d"]
    nbytes = np.array([*_nbytes(run).values()])
    measure, score = _means(run, "measures", key), _means(run, "scores", task)
    rng = np.random.default_rng(0)
    drawn = np.vstack([np.arange(len(names)), rng.integers(len(names), size=(statistics.RESAMPLES, len(names)))])
    lost = []
    for share in SIZES:
        fits = (nbytes <= share * size)[drawn]
        picked = np.where(fits, measure[drawn], -np.inf).argmax(axis=1)
        reached = np.take_along_axis(score[drawn], picked[:, None], axis=1)[:, 0]
        best = np.where(fits, score[drawn], -np.inf).max(axis=1)
        lost.append(np.where(fits.any(axis=1), best - reached, 0))  # where nothing fits nothing is lost
    return np.mean(lost, axis=0)


def corrected(values: Sequence[Floats]) -> list[float]:
    """p-values of differences, each with its resamples, after Holm (1979): two-sided, the resamples taken as normal."""
    spreads = [max(float(np.nanstd(each[1:])), 1e-12) for each in values]
    raw = np.array([2 * ndtr(-abs(each[0]) / spread) for each, spread in zip(values, spreads, strict=True)])
    order = np.argsort(raw)
    steps = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    found = np.empty(len(raw))
    found[order] = np.minimum(steps, 1)
    return [float(p) for p in found]


def _mean(of: Callable[..., Floats], runs: Runs, key: str, places: Sequence[tuple[str, str]]) -> Floats:
    """Over runs and tasks, of a statistic and of each of its resamples."""
    return np.mean([of(runs[name], key, task) for name, task in places], axis=0)


def practice(default: Runs, every: Runs) -> str:
    """The first page: each use, the criterion that it sets, and what it costs to follow it and EOS."""
    rows = []
    for use in USES:
        for pool, runs in (("default", default), ("every method", every)):
            if not (places := USES[use].reported_on(runs)):
                continue
            key = set_by(runs, use)
            errors = [_mean(sampled, runs, each, places) for each in (key, EOS)]
            losses = [_mean(loss, runs, each, places) for each in (key, EOS)]
            tables = len({name for name, _ in places})
            rows.append(
                [
                    *(f"`use={use}`", f"`{key}`", f"{pool}: {len(places)} tasks on {tables} tables"),
                    *(cell(asdict(interval(each)), 3) for each in errors),
                    *(cell(asdict(interval(100 * each)), 1) for each in losses),
                ]
            )
    headings = ["use", "criterion", "pool", "selection error", "EOS's", "loss, hundredths of a score", "EOS's loss"]
    return grid(headings, rows) if rows else ""


def measures(default: Runs, every: Runs) -> str:
    """Every measure that was tried, where a measure was chosen and where it is reported, in both pools."""
    parts = []
    for pool, runs in (("The default pool", default), ("Every method", every)):
        if runs:
            parts.append(f"**{pool}**\n\n{_measures(runs)}\n")
    return "".join(parts)


def _measures(runs: Runs) -> str:
    columns: dict[str, tuple[str, list[tuple[str, str]], bool]] = {}
    for use in USES:
        if places := USES[use].chosen_on(runs):
            columns[f"{use}, chosen on {len(places)}"] = (use, places, False)
        if places := USES[use].reported_on(runs):
            columns[f"{use}, {len(places)} others"] = (use, places, False)
            columns[f"{use}, {len(places)} others, equal bytes"] = (use, places, True)
    found = {
        key: [mean_error(runs, key, places, near=near) for _, places, near in columns.values()]
        for key in measured(runs)
    }
    best = np.nanmin([*found.values()], axis=0)
    rows = [
        [key, *(f"**{number(v, 3)}**" if v == least else number(v, 3) for v, least in zip(values, best, strict=True))]
        for key, values in sorted(found.items(), key=lambda item: item[1][0])
    ]
    others = []
    for use, places, near in columns.values():
        each = [error_of_others(runs[name], task, USES[use].kinds, near=near) for name, task in places]
        known = [value for value in each if value is not None]
        others.append(number(float(np.mean(known)) if known else None, 3))
    return grid(["measure", *columns], [*rows, ["*mean rank on the other tasks of the use*", *others]])


def comparisons(runs: Runs) -> str:
    """The chosen measure, and the one that the use sets, against EOS on each table and task that was not looked at.

    After the tasks of a table comes their mean. The p-values of tasks are corrected together, and those of the means.
    """
    parts = []
    for use in USES:
        if not (places := USES[use].reported_on(runs)):
            continue
        keys = {choice(runs, use): "chosen as said", set_by(runs, use): "what the use sets"}
        groups = {
            (key, name, tasks): [_mean(sampled, runs, each, [(name, task) for task in tasks]) for each in (key, EOS)]
            for key in keys
            for of_one in (True, False)
            for name, tasks in _groups(places, one=of_one)
            if key != EOS
        }
        p_of = {}
        for one in (True, False):
            alike = [group for group in groups if (len(group[2]) == 1) == one]
            p_of |= zip(alike, corrected([groups[group][0] - groups[group][1] for group in alike]), strict=True)
        for key in dict.fromkeys(key for key, *_ in groups):
            rows = []
            for (_, name, tasks), (own, eos) in sorted(
                ((group, values) for group, values in groups.items() if group[0] == key),
                key=lambda item: (list(runs).index(item[0][1]), len(item[0][2]), item[0][2]),
            ):
                label, others = f"**mean of {len(tasks)}**", None
                if len(tasks) == 1:
                    (label,), others = tasks, error_of_others(runs[name], tasks[0], USES[use].kinds)
                rows.append([TITLES[name], label, *_compared(own, eos, p_of[key, name, tasks]), number(others, 3)])
            headings = [
                "table",
                "task",
                "selection error",
                "EOS's",
                "ratio",
                "difference [interval; p]",
                "other tasks'",
            ]
            parts.append(
                f"**`use={use}`: `{key}`, {keys[key]}**\n\n{grid(headings, rows)}\n{_counted(groups, p_of, key)}\n\n"
            )
    return "".join(parts)


Group = tuple[str, str, tuple[str, ...]]
"""A measure, a table and tasks."""


def _groups(places: Sequence[tuple[str, str]], *, one: bool) -> list[tuple[str, tuple[str, ...]]]:
    """Tables with one task each, or with all of theirs, where there are several."""
    if one:
        return [(name, (task,)) for name, task in places]
    tables = {name: tuple(task for table, task in places if table == name) for name, _ in places}
    return [(name, tasks) for name, tasks in tables.items() if len(tasks) > 1]


def _counted(groups: Mapping[Group, Sequence[Floats]], p_of: Mapping[Group, float], key: str) -> str:
    """How many differences there are, in words."""
    said = []
    for what, several in (("tasks", False), ("means", True)):
        own = {group: values for group, values in groups.items() if group[0] == key and (len(group[2]) > 1) == several}
        less = sum(p_of[group] < LIMIT and mine[0] < eos[0] for group, (mine, eos) in own.items())
        more = sum(p_of[group] < LIMIT and mine[0] > eos[0] for group, (mine, eos) in own.items())
        small = sum(bool(mine[0] <= WANTED * eos[0]) for mine, eos in own.values())
        said.append(
            f"Of {len(own)} {what} the error is at most {WANTED} of EOS's in {small}; with a corrected p under {LIMIT} "
            f"it is below EOS's in {less} and above it in {more}."
        )
    return " ".join(said)


def _compared(own: Floats, eos: Floats, p: float) -> list[str]:
    """Both errors, their ratio, and their difference with its interval and its p."""
    difference = interval(own - eos)
    ends = f"{number(difference.low, 3)}, {number(difference.high, 3)}"
    values = [number(float(each[0]), 3) for each in (own, eos)]
    return [*values, number(float(own[0] / eos[0])), f"{number(difference.value, 3)} [{ends}; {number(p, 3)}]"]


def choices(runs: Runs) -> str:
    """What a use chooses under a budget, and how far its scores are below the best of all candidates that fit."""
    rows = []
    for name, run in runs.items():
        for label, tasks in _of_choices(scored(run)).items():
            score = {
                candidate: float(np.mean([_column(run, "scores", task)[candidate] for task in tasks]))
                for candidate in _nbytes(run)
            }
            chosen, eos = (_best(run, key) for key in (set_by({name: run}, "frozen"), EOS))
            best = max(score, key=score.__getitem__)
            rows.append(
                [
                    *(
                        TITLES[name],
                        f"{run['budget_bytes'] / 1e6:.2f}",
                        str(len(score)),
                        label,
                    ),
                    *(chosen, number(score[chosen], 4), number(score[best], 4), number(score[best] - score[chosen], 4)),
                    number(score[best] - score[eos], 4),
                ]
            )
    headings = [
        "table",
        "MB",
        "that fit",
        "tasks",
        "choice",
        "score",
        "best score",
        "below it",
        "EOS's choice below it",
    ]
    return grid(headings, rows) if rows else ""


def _of_choices(tasks: Sequence[str]) -> dict[str, list[str]]:
    """Tasks of frozen tables whose mean is shown: the STS benchmark alone, and all others together."""
    first = [task for task in tasks if task == "sts_STS-B.train"]
    others = [task for task in tasks if task not in first and task.startswith(USES["frozen"].kinds)]
    groups = {"STS benchmark": first, f"mean of {len(others)} others": others}
    return {label: of for label, of in groups.items() if of}


def _best(run: Mapping[str, Any], key: str) -> str:
    """The candidate that a measure chooses; of ties the one of fewer bytes."""
    measure, nbytes = _column(run, "measures", key), _nbytes(run)
    return max(nbytes, key=lambda name: (float(np.mean(measure[name])), -nbytes[name]))


def plain(runs: Runs) -> str:
    """The mean scores of the best candidates of a table that is not made for means, and of the table in float16."""
    parts = []
    for name, run in runs.items():
        tasks = scored(run)
        means = np.mean([[each[0] for each in _column(run, "scores", task).values()] for task in tasks], axis=0)
        score = dict(zip(_nbytes(run), means.tolist(), strict=True))
        best = sorted(score, key=lambda candidate: -score[candidate])[:SHOWN]
        rows = [[each, f"{_nbytes(run)[each] / 1e6:.2f}", number(score[each], 3)] for each in [*best, "float16"]]
        parts.append(grid([f"{TITLES[name]} as it comes", "MB", f"mean of {len(tasks)} tasks of similarity"], rows))
    return "".join(parts)
