"""The record of a decision: written, read back, described by its schema, and refused when it is something else."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eigenselect.selector.decision.lookup import Limit
from eigenselect.selector.decision.record import FILE, VERSION, Decision, read_decision
from eigenselect.selector.decision.schema import schema
from tests.decisions import EVERYTHING, decision

SCHEMA = Path(__file__).parents[2] / "docs" / "selection.schema.json"


def reread(folder: Path, content: Any) -> Decision:
    path = folder / FILE
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_decision(path)


@pytest.mark.parametrize("parts", [{}, EVERYTHING], ids=["least", "everything"])
def test_what_is_written_reads_back(parts: dict[str, Any], tmp_path: Path) -> None:
    made = decision(**parts)
    assert reread(tmp_path, made.text()) == made
    assert reread(tmp_path, {**json.loads(made.text()), "of a later program": 1}) == made


def test_the_names_are_those_of_the_contract() -> None:
    found = json.loads(decision().text())
    contract = {"chosen", "runner_up", "rejected", "budget_bytes", "criterion", "table", "verification", "seed"}
    more = {"version", "reason", "criteria", "sensitive_to", "question", "other_uses"}
    assert {*found} == contract | more | {"versions", "run_id"}
    assert {*found["chosen"]} == {"name", "compressor", "parameters", "nbytes", "measures"}
    assert {*found["runner_up"]} == {*found["chosen"], "tie", "margin"} and found["runner_up"]["margin"] is None
    assert found["rejected"][1] == {"name": "identity", "reason": "9,000 bytes are 8,000 over the budget: not computed"}
    assert {*found["criteria"]["reconstruction_error"]} == {
        "chosen",
        "value",
        "value_of_choice",
        "rank_of_choice",
        "ranked",
        "tie",
    }
    assert {"path", "n", "d", "digest"} < {*found["table"]} and "pruned_from" not in found["table"]
    assert {"max_abs_error", "eos_from_onnx"} < {*found["verification"]}
    more = json.loads(decision(**EVERYTHING).text())
    assert {*more} == {*found, "words", "host", "lookup"}
    assert more["chosen"]["costs"] == {"lookup_ratio_8192": 1.5, "lookup_ns_8192": 75.0}


def test_the_record_says_what_a_limit_cost() -> None:
    found = decision(**EVERYTHING)
    assert found.lookup is not None and found.lookup.says == (
        "The times were measured on Abacus, 2 threads, ONNX Runtime 1.0, CPUExecutionProvider, target cpu; those of "
        "another machine differ."
    )
    assert (found.chosen.name, found.lookup.limit, found.lookup.best_without_limit) == ("uniform-b4", "2x", "slow")
    assert found.lookup.criterion_lost == pytest.approx(0.05) and found.metrics()["lookup_ratio_8192"] == 1.5
    idle = decision(limit=Limit.parse("9x"))
    assert idle.chosen.name == "slow" and idle.lookup is not None
    assert (idle.lookup.limit, idle.lookup.best_without_limit, idle.lookup.criterion_lost) == ("9x", None, None)


def test_a_number_that_json_does_not_have_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        decision({"pip_loss": math.nan}).text()


@pytest.mark.parametrize("version", [VERSION + 1, 0, "1", None])
def test_another_version_is_refused_with_the_cure(version: Any, tmp_path: Path) -> None:
    expected = (
        rf"^selection\.json is of version {version!r}, this program reads 1: upgrade eigenselect, or select again$"
    )
    with pytest.raises(ValueError, match=expected):
        reread(tmp_path, {**json.loads(decision().text()), "version": version})


def objects(node: dict[str, Any], value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every object of a record with what the schema says of it, and where it is."""
    node = node.get("anyOf", [node])[0]
    if node["type"] == "array":
        for i, each in enumerate(value):
            yield from objects(node["items"], each, (*path, i))
    elif "properties" in node:
        yield node, path
        for name, inner in node["properties"].items():
            if name in value:
                yield from objects(inner, value[name], (*path, name))


def at(record: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        record = record[step]
    return record


def test_every_name_that_the_schema_requires_is_asked_for(tmp_path: Path) -> None:
    text = decision(**EVERYTHING).text()
    found = [*objects(schema(), json.loads(text))]
    assert len(found) > 10
    for node, path in found:
        for name in {*node["required"]} - {"version"}:
            changed = json.loads(text)
            del at(changed, path)[name]
            with pytest.raises(ValueError, match=rf"^selection\.json lacks '{name}'.*: it is of another version of"):
                reread(tmp_path, changed)


WRONG = {"string": 1, "integer": 1.5, "number": "high", "boolean": 1, "array": {}, "object": []}


def test_every_type_that_the_schema_names_is_asked_for(tmp_path: Path) -> None:
    text = decision(**EVERYTHING).text()
    for node, path in objects(schema(), json.loads(text)):
        for name, inner in node["properties"].items():
            wrong = WRONG[inner.get("anyOf", [inner])[0]["type"]]
            changed = json.loads(text)
            at(changed, path)[name] = wrong
            if name != "version" and name in at(json.loads(text), path):
                with pytest.raises(ValueError, match=rf"holds something else than a record: \S*{name} is "):
                    reread(tmp_path, changed)


def test_a_record_without_the_score_that_decided_is_refused(tmp_path: Path) -> None:
    changed = json.loads(decision().text())
    with pytest.raises(ValueError, match=r"^selection\.json lacks 'mean_cosine' in the measures of uniform-b4: "):
        reread(tmp_path, {**changed, "criterion": "mean_cosine"})
    changed["chosen"]["measures"]["mean_cosine"] = True
    with pytest.raises(ValueError, match=r"record: chosen\.measures\.mean_cosine is True and must be a number$"):
        reread(tmp_path, changed)


def test_the_schema_in_the_documents_is_that_of_the_record() -> None:
    cure = "python -m eigenselect.selector.decision.schema > docs/selection.schema.json"
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema(), cure
