"""The settings of a command: every value is checked at once, in one line, before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from eigenselect.compressors import Uniform
from eigenselect.selector.decision.lookup import Limit
from eigenselect.selector.measures import Measures
from eigenselect.selector.pool.candidates import expand
from eigenselect.selector.run.settings import EvidenceSettings, Settings, TableSettings, named_pool

GIVEN = ["table.path=t.npy", "budget=2kB", "out=o"]


def settings(*words: str) -> Settings:
    with initialize_config_module("eigenselect.conf", version_base="1.3"):
        return Settings.of(compose("config", [*GIVEN, *words]))


def test_values_are_those_that_were_given():
    read = settings("seed=3", "export.providers=[CPUExecutionProvider]", "exact_rows=[0,a]", "criterion=weighted_eos")
    assert read.table == TableSettings("t.npy", *[None] * 6, "refuse", "error", None, None, None)
    assert (read.seed, read.out, read.budget.nbytes(10, 10), read.exact_rows) == (3, Path("o"), 2000, [0, "a"])
    assert read.measures == Measures([1], [1, 2]) and read.decides == "weighted_eos_p1"
    assert settings("use=frozen", "table.counts=c.txt").decides == "ridge_alignment_by_frequency"
    assert read.export.providers == ["CPUExecutionProvider"] and read.tracking.resume is True
    assert read.limits.lookup is None and settings("limits.lookup=2.5x").limits.lookup == Limit.parse("2.5x")
    assert read.candidates.largest is None and "uniform-b4" in {each.name for each in expand(read.candidates.pool)}
    assert "budget: 2kB" in read.text and "bits:\n      - 1" in read.text and "${" not in read.text


WRONG = {
    "table.path=2024": "table.path = 2024: must be text, in quotes",
    "table.path=[a]": "table.path = ['a']: must be text",
    "out=7": "out = 7: must be a path, in quotes",
    "table.tokens=7": "table.tokens = 7: must be text, in quotes where it could be read as something else",
    "budget=[1]": "budget = '[1]' cannot be read",
    "limits.lookup=fast": "limits.lookup = 'fast': must be times a float32 Gather (2x) or nanoseconds a row (500ns)",
    "limits.lookup=2": "limits.lookup = '2': must be times",
    "limits.lookup=0x": "limits.lookup = '0x': must be times",
    "+limits.memory=1": "there is no setting limits.memory: there are lookup",
    "seed=1.5": "seed = 1.5: must be an integer of at least 0",
    "seed=true": "seed = True: must be an integer",
    "seed=null": "seed = None: must be an integer",
    "allowed_failures=half": "allowed_failures = 'half': must be a share from 0 to 1",
    "use=cold": "use = 'cold': must be trained, frozen, retrieval or null",
    "measures.row_weights=rank": "measures.row_weights = 'rank': must be counts, zipf or null",
    "criterion=eos_by_frequency": "criterion = 'eos_by_frequency' weighs rows by their frequency, which is not known",
    "allowed_failures=null": "allowed_failures = None: must be a share",
    "criterion=3": "criterion = 3: must be text",
    "exact_rows=0": "exact_rows = 0: must be a list of ids and tokens",
    "measures.lambdas=max": "measures.lambdas = 'max': must be a list",
    "measures=3": "measures = 3: give its settings one by one, measures.lambdas=... for example",
    "+measures.exponent=[3]": "there is no setting measures.exponent: did you mean measures.exponents?",
    "export.providers=cpu": "export.providers = 'cpu': must be a list of execution providers",
    "export.opset=new": "export.opset = 'new': must be an integer",
    "export.output=bfloat16": "export.output = 'bfloat16': must be float32 or float16",
    "export.words=1": "export.words = 1: must be true or false",
    "+export.provider=x": "there is no setting export.provider: did you mean export.providers?",
    "tracking.resume=maybe": "tracking.resume = 'maybe': must be true or false",
    "tracking.register=7": "tracking.register = 7: must be text, in quotes",
    "tracking=off": "tracking = 'off': give its settings one by one",
    "+candidates.largest=0": "candidates.largest = 0: must be an integer of at least 1, or null",
    "+candidates.largest=true": "candidates.largest = True: must be an integer",
    "candidates.pool=x": "candidates.pool = 'x': must be one _target_ with its arguments for each name",
    "+seeds=1": "there is no setting seeds: did you mean seed?",
    "+zzz=1": "there is no setting zzz: there are allowed_failures, budget",
    "~seed": "required and not given: seed=...",
    "~tracking.alias": "required and not given: tracking.alias=...",
    "candidates.bits=${nowhere}": "Interpolation key 'nowhere' not found",
}


@pytest.mark.parametrize("word", WRONG)
def test_a_value_that_cannot_be_used_is_refused_with_the_cure(word):
    with pytest.raises(ValueError) as refused:
        settings(word)
    assert str(refused.value).startswith(WRONG[word]), refused.value


def test_validate_tries_candidates_of_any_speed():
    with initialize_config_module("eigenselect.conf", version_base="1.3"):
        config = compose("validate", [*GIVEN, "validate.scores=s.csv", "limits.lookup=2x"])
    with pytest.raises(ValueError, match=r"^limits\.lookup = '2x': validate tries every candidate; leave it out$"):
        EvidenceSettings.of(config)


@pytest.mark.parametrize("word", ["validate.tasks=7", "validate.include=[]", "validate.seeds=[true]", "~validate"])
def test_those_of_validate_are_checked_too(word):
    with initialize_config_module("eigenselect.conf", version_base="1.3"):
        config = compose("validate", [*GIVEN, "validate.scores=s.csv", word])
    with pytest.raises(ValueError, match=r"^validate(\.\w+)? = .*: (must be|give its settings)"):
        EvidenceSettings.of(config)


def test_nothing_heavy_is_imported_for_a_mistake():
    code = f"""
import sys
from eigenselect.selector.commands.select import main
for word in (
    *("export.target=tpu", "seed=-1", "+budgett=1", "budget=lots"),
    *("candidates.bits=[9]", "criterion=f1", "tracking.alias=7"),
):
    assert main([*{GIVEN}, word]) == 2, word
print(*sorted({{"mlflow", "torch", "onnxruntime", "numba"}} & {{*sys.modules}}))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.count("error: ") == 7 and run.stdout == "\n"


def test_a_pool_by_name():
    assert named_pool("quick").pool.keys() >= {"uniform", "kmeans"} and named_pool("auto").largest == 2
    with pytest.raises(ValueError, match=r"^candidates = 'quik' is not a pool: did you mean quick\?$"):
        named_pool("quik")
    with initialize_config_module("eigenselect.conf", version_base="1.3"):  # as within a program that uses Hydra
        assert Uniform(4) in expand(named_pool("quick").pool)
        assert compose("config", GIVEN).out == "o"
