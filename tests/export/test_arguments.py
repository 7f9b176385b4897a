from __future__ import annotations

import pytest

from eigenselect.export.arguments import settings


def test_words_by_key() -> None:
    assert settings(["out=a=b", "host=x y"], ("host", "out", "tied")) == {"out": "a=b", "host": "x y"}
    assert settings(["out="], ("out",)) == {"out": ""}


@pytest.mark.parametrize("words", [["host"], ["hots=x"], ["=x"], ["host=x", "host=x"]])
def test_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"give (host=\.\.\., out=\.\.\.|it once)$"):
        settings(words, ("host", "out"))
