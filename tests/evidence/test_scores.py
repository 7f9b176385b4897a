"""Scores that come as a CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from eigenselect.selector.evidence.analysis.scores import read_scores


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "s.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns_in_any_order_and_their_defaults(tmp_path: Path) -> None:
    assert read_scores(write(tmp_path, "score,candidate\n0.5,a\n-1e2,b\n\n"), 3)[0] == {
        ("a", 3): {"given": 0.5},
        ("b", 3): {"given": -100.0},
    }
    whole = "\ufefftask,candidate,seed,score\r\nqa,a,0,1\r\nqa,a,1,2\r\nner.en,a,0,3\r\n"
    found, digest = read_scores(write(tmp_path, whole), 3)
    assert found == {("a", 0): {"qa": 1, "ner.en": 3}, ("a", 1): {"qa": 2}}
    assert digest != read_scores(write(tmp_path, whole.replace("2", "4")), 3)[1]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "has the columns : it needs candidate,score and maybe seed,task"),
        ("candidate,accuracy\na,1\n", "has the columns candidate,accuracy"),
        ("candidate,score,score\na,1,2\n", "has the columns candidate,score,score"),
        ("candidate,score\n", "holds no score"),
        ("candidate,score\na,1,2\n", "line 2 has 3 fields: its header has 2"),
        ("candidate,score\na,high\n", "line 2 is a,high: the score must be a finite number"),
        ("candidate,score\na,nan\n", "line 2 is a,nan: the score must be a finite"),
        ("candidate,score,seed\na,1,-1\n", "the seed an integer of at least 0"),
        ("candidate,score,seed\na,1,1.5\n", "the seed an integer of at least 0"),
        ("candidate,score,task\na,1,a/b\n", "the task a name of letters"),
        ("candidate,score\na,1\na,2\n", "line 3 scores a on given with the same seed again"),
        (b"candidate,score\n\xff,1\n", "cannot be read as UTF-8"),
    ],
)
def test_what_is_no_score_is_refused(tmp_path: Path, text: str | bytes, answer: str) -> None:
    with pytest.raises(ValueError, match=answer):
        read_scores(write(tmp_path, text), 0)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone.csv cannot be read"):
        read_scores(tmp_path / "gone.csv", 0)
