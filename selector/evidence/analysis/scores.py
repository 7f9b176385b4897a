"""Scores that the user brings: a CSV with the columns candidate and score, and where they matter seed and task."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from pathlib import Path

TASK = "given"
"""The task of scores whose file names none."""

Scores = dict[tuple[str, int], dict[str, float]]
"""(candidate, seed) -> task -> score, higher is better."""


def read_scores(path: Path, seed: int) -> tuple[Scores, str]:
    """The scores of a CSV file, and its SHA-256.

    Args:
        path: the file.
        seed: of the candidates, where the file does not say.

    Raises:
        ValueError: it cannot be read, lacks a column, says something twice, or holds something that is not a score.
    """
    try:
        content = path.read_bytes()
        rows = csv.reader(content.decode("utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"validate.scores = {path} cannot be read as UTF-8 text: {error}") from error
    header = next(rows, [])
    columns = {"candidate", "score", "seed", "task"}
    if not {"candidate", "score"} <= {*header} <= columns or len({*header}) < len(header):
        raise ValueError(f"{path} has the columns {','.join(header)}: it needs candidate,score and maybe seed,task")
    found: Scores = {}
    for row in filter(None, rows):
        if len(row) != len(header):
            raise ValueError(f"{path}, line {rows.line_num} has {len(row)} fields: its header has {len(header)}")
        given = dict(zip(header, row, strict=True))
        task = given.get("task", TASK)
        try:
            number, score = int(given.get("seed", seed)), float(given["score"])
        except ValueError:
            number, score = -1, math.nan
        if number < 0 or not math.isfinite(score) or not re.fullmatch(r"[\w.-]{1,200}", task):
            raise ValueError(
                f"{path}, line {rows.line_num} is {','.join(row)}: the score must be a finite number, the seed an "
                "integer of at least 0, the task a name of letters, digits, _ - ."
            )
        scores = found.setdefault((given["candidate"], number), {})
        if task in scores:
            raise ValueError(
                f"{path}, line {rows.line_num} scores {given['candidate']} on {task} with the same seed again"
            )
        scores[task] = score
    if not found:
        raise ValueError(f"{path} holds no score: one line a score is needed below the header")
    return found, hashlib.sha256(content).hexdigest()
