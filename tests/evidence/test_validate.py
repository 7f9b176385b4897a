"""`eigenselect validate`, in this process, on a small table and a real tracking store."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from mlflow import MlflowClient
from scipy import stats

from eigenselect import compressors
from eigenselect.compressors import KMeans, Uniform
from eigenselect.selector.evidence.analysis.statistics import SAME_SIZE
from eigenselect.selector.evidence.plan import Words
from eigenselect.selector.evidence.tasks import texts
from eigenselect.selector.evidence.tasks.linear import SentenceLinear
from eigenselect.selector.evidence.tasks.wordsim import WordSimilarity
from eigenselect.selector.measures import score
from eigenselect.selector.pool.candidates import Room, expand
from eigenselect.selector.run.settings import EvidenceSettings
from eigenselect.selector.sources import read_table, static
from tests.evidence.test_tasks import WORDS, write_sentences
from tests.export.hosts import make_host, save_host
from tests.running import command as run_command
from tests.running import only
from tests.selector.test_static import model2vec

ROOT = Path(__file__).parents[2]
N, D = 60, 6
TOKENS = (*WORDS, *(f"other{i}" for i in range(N - len(WORDS))))
POOL = [
    *("candidates.bits=[1,2,4]", "candidates.rates=[2]", "budget=100%"),
    *only("uniform", "stochastic", "kmeans", "pca"),
]
TASKS = ["linear_A", "wordsim_P"]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One tracking store for all: making its schema takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eigenselect.selector.evidence.analysis.statistics.RESAMPLES", 20)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.nodeid


@pytest.fixture
def client(store: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MlflowClient:
    """The store, an experiment of this test's own as the environment's, an empty folder as the working folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    found = MlflowClient(store)
    found.create_experiment(name, artifact_location=(tmp_path / "artifacts").as_uri())
    return found


@pytest.fixture
def table(tmp_path: Path) -> list[str]:
    """Settings that name a table in which good and bad words are apart, and a folder of tasks."""
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((N, D)) * np.geomspace(2, 0.3, D)
    vectors[:3] += 1
    vectors[3:6] -= 1
    np.save(tmp_path / "t.npy", vectors.astype(np.float32))
    (tmp_path / "t.txt").write_text("\n".join(TOKENS))
    (tmp_path / "tasks" / "sentence").mkdir(parents=True)
    (tmp_path / "tasks" / "wordsim").mkdir()
    write_sentences(tmp_path / "tasks" / "sentence" / "A.tsv", 120)
    pairs = "".join(f"w{i} w{j} {(i * j) % 7}\n" for i in range(9) for j in range(i)) + "good unheard 1\n"
    (tmp_path / "tasks" / "wordsim" / "EN-P.txt").write_text(pairs)
    (tmp_path / "tasks" / "wordsim" / "EN-alien.txt").write_text("qq zz 1\n")
    return [f"table.path={tmp_path / 't.npy'}", f"table.tokens={tmp_path / 't.txt'}", *POOL]


command = partial(run_command, "validate")


def tried(*more: str, seeds: str = "[0,1]", include: str = "[linear_A,wordsim_P]") -> list[str]:
    return ["validate.tasks=tasks", f"validate.include={include}", f"validate.seeds={seeds}", "out=o", *more]


def evidence(folder: Path) -> dict:
    return json.loads((folder / "o" / "evidence.json").read_text())


def runs(client: MlflowClient, name: str, role: str) -> list:
    experiment = client.get_experiment_by_name(name)
    return list(client.search_runs([experiment.experiment_id], f"tags.role = '{role}'", max_results=500))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often each task is done and each method compresses."""
    count: Counter = Counter()
    for kind in (SentenceLinear, WordSimilarity):

        def scored(self, *given, _score=kind.score):
            count[self.name] += 1
            return _score(self, *given)

        monkeypatch.setattr(kind, "score", scored)
    compress = compressors.Compressor.compress

    def compressed(self, *given):
        if not isinstance(self, compressors.Identity):  # that is inside of PCA
            count["compressed"] += 1
        return compress(self, *given)

    monkeypatch.setattr(compressors.Compressor, "compress", compressed)
    return count


def test_evidence_is_complete_and_true(client, table, name, tmp_path, capsys):
    assert command(*table, *tried()) == 0
    printed, errors = capsys.readouterr()
    assert errors == "" and "Files: o" in printed and "eos" in printed
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"evidence.json", "evidence.html"}
    found = evidence(tmp_path)
    results = found["results"]
    names = {each["candidate"] for each in results}
    assert len(results) == 2 * len(names) and {each["seed"] for each in results} == {0, 1} == {*found["seeds"]}
    assert {*found["tasks"]} == {*TASKS} and found["left_out"] == []
    assert found["tasks"]["wordsim_P"]["missing"] == pytest.approx(1 / 37)

    # Each result is that of the candidate compressed with its seed, measured and tried by hand.
    source = read_table(tmp_path / "t.npy", tokens=tmp_path / "t.txt")
    similarity = WordSimilarity("wordsim_P", tmp_path / "tasks" / "wordsim" / "EN-P.txt", texts.Words())
    for each in results:
        if each["candidate"] not in ("uniform-b2", "uniform-b1-stochastic", "kmeans-b4"):
            continue
        bits = int(each["candidate"].split("-b")[1][0])
        kind = (
            KMeans(bits)
            if "kmeans" in each["candidate"]
            else Uniform(bits, rounding="stochastic" if "stochastic" in each["candidate"] else "nearest")
        )
        payload = kind.compress(source, np.random.default_rng(each["seed"]))
        decoded = payload.read(slice(0, N))
        assert each["measures"] == pytest.approx(score(source, payload)) and each["nbytes"] == payload.nbytes
        vectors = np.array([decoded[TOKENS.index(w)] if w in TOKENS else np.zeros(D) for w in similarity.words])
        known = np.array([word in TOKENS for word in similarity.words])
        assert each["scores"]["wordsim_P"] == pytest.approx(similarity.score(vectors, known, 0), abs=1e-6)

    # The statistics are of the results.
    for task in TASKS:
        means = [
            [
                np.mean([value(each) for each in results if each["candidate"] == candidate])
                for candidate in sorted(names)
            ]
            for value in (lambda each: each["measures"]["pip_loss"], lambda each: each["scores"][task])  # noqa: B023
        ]
        row = found["tasks"][task]["measures"]["pip_loss"]
        assert row["candidates"] == len(names)
        assert row["spearman"]["value"] == pytest.approx(-stats.spearmanr(*means).statistic)
    both = [found["tasks"][task]["measures"]["eos"] for task in TASKS]
    overall = found["overall"]["eos"]
    assert overall["spearman"]["value"] == pytest.approx(np.mean([row["spearman"]["value"] for row in both]))
    assert overall["largest_loss"]["value"] == max(row["largest_loss"]["value"] for row in both)


def test_runs_hold_the_scores(client, table, name, tmp_path):
    assert command(*table, *tried()) == 0
    found = evidence(tmp_path)
    (parent,) = runs(client, name, "evidence")
    assert parent.info.run_id == found["run_id"] and parent.info.status == "FINISHED"
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert artifacts == {"evidence.json", "evidence.html", "config.yaml"}
    candidates = {run.info.run_id: run for run in runs(client, name, "candidate")}
    assert {*candidates} == {each["run_id"] for each in found["results"]} and len(candidates) == len(found["results"])
    for each in found["results"]:
        data = candidates[each["run_id"]].data
        assert {key: data.metrics[f"downstream_{key}"] for key in TASKS} == each["scores"]
        assert data.metrics["eos"] == each["measures"]["eos"] and data.tags["seed"] == str(each["seed"])


@pytest.mark.slow
def test_a_finished_sweep_is_taken_up_and_results_are_reused(client, table, name, tmp_path, counted):
    assert run_command(*table, "out=s") == 0
    before = {run.info.run_id for run in runs(client, name, "candidate")}
    counted.clear()
    assert command(*table, *tried(seeds="[0]")) == 0
    first = evidence(tmp_path)
    assert {each["run_id"] for each in first["results"]} == before
    assert counted["linear_A"] == counted["wordsim_P"] == counted["compressed"] == len(before)

    counted.clear()
    assert command(*table, *tried(seeds="[0]")) == 0
    assert not counted
    second = evidence(tmp_path)
    assert {**first, "run_id": ""} == {**second, "run_id": ""}

    # One more task, one more seed: only these.
    assert command(*table, *tried(seeds="[0]", include="[linear_A]")) == 0 and not counted
    (tmp_path / "tasks" / "wordsim" / "EN-P.txt").write_text("w0 w1 1\nw2 w3 2\nw4 w5 3\nw6 w7 1.5\n")
    assert command(*table, *tried(seeds="[0]")) == 0
    assert counted["linear_A"] == 0 and counted["wordsim_P"] == counted["compressed"] == len(before)
    counted.clear()
    assert command(*table, *tried(seeds="[0,1,2]")) == 0
    assert counted["compressed"] == 2 * len(before)
    # Methods without chance give the same vectors again; the three of stochastic rounding do not.
    assert counted["linear_A"] == counted["wordsim_P"] == len(before) + 3

    counted.clear()
    assert command(*table, *tried("tracking.resume=false", seeds="[0]")) == 0
    assert counted["linear_A"] == counted["compressed"] == len(before)
    resumed = {each["candidate"]: each["scores"] for each in second["results"]}
    again = {each["candidate"]: each["scores"] for each in evidence(tmp_path)["results"]}
    assert all(again[one]["linear_A"] == resumed[one]["linear_A"] for one in again), "the seed is that of the candidate"


def test_a_stopped_run_goes_on(client, table, name, tmp_path, counted, monkeypatch):
    made = WordSimilarity.score

    def stopped(self, *given):
        if counted["wordsim_P"] == 4:
            raise KeyboardInterrupt
        return made(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(WordSimilarity, "score", stopped)
        assert command(*table, *tried(seeds="[0]")) == 130
    assert not (tmp_path / "o").exists() and counted["wordsim_P"] == 4
    assert command(*table, *tried(seeds="[0]")) == 0
    count = len(evidence(tmp_path)["results"])
    assert counted["wordsim_P"] == count, "what was logged is not done again"


def test_scores_of_ones_own(client, table, name, tmp_path, counted):
    assert run_command(*table, "out=s") == 0
    names = sorted(run.info.run_name for run in runs(client, name, "candidate"))
    counted.clear()
    (tmp_path / "mine.csv").write_text("candidate,score\n" + "".join(f"{n},{i % 5}\n" for i, n in enumerate(names)))
    assert command(*table, "validate.scores=mine.csv", "out=o") == 0
    assert not counted, "neither training nor compressing"
    found = evidence(tmp_path)
    assert {each["candidate"]: each["scores"] for each in found["results"]} == {
        n: {"given": i % 5} for i, n in enumerate(names)
    }
    assert found["seeds"] == [0] and found["tasks"]["given"]["missing"] is None
    row = found["tasks"]["given"]["measures"]["eos"]
    measured = [next(e["measures"]["eos"] for e in found["results"] if e["candidate"] == n) for n in names]
    assert row["spearman"]["value"] == pytest.approx(
        stats.spearmanr(np.round(measured, 10), np.arange(len(names)) % 5).statistic
    )
    (run,) = [run for run in runs(client, name, "candidate") if run.info.run_name == names[2]]
    assert run.data.metrics["downstream_given"] == 2

    # Beside tasks, with seeds and a task of its own; only these candidates have it.
    (tmp_path / "mine.csv").write_text(
        "candidate,score,seed,task\n" + "".join(f"{n},{i},7,qa\n" for i, n in enumerate(names[:4]))
    )
    assert command(*table, *tried("validate.scores=mine.csv", seeds="[0]")) == 0
    found = evidence(tmp_path)
    assert counted["compressed"] == len(names) + 4
    assert found["tasks"]["qa"]["measures"]["eos"]["candidates"] == 4
    assert found["tasks"]["linear_A"]["measures"]["eos"]["candidates"] == len(names)


def test_the_page_stands_alone(client, table, tmp_path):
    assert command(*table, *tried(seeds="[0,1]")) == 0
    page = (tmp_path / "o" / "evidence.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "") and len(page) < 100_000
    first = evidence(tmp_path)["results"][0]["candidate"]
    for text in ("linear_A", "wordsim_P", "Table 17", f"{first}, ", "eos"):
        assert text in page, text
    results = evidence(tmp_path)["results"]
    (chart,) = [json.loads(text) for text in re.findall("chart type=application/json>(.*?)</script>", page)]
    assert {*chart["styles"]} == {each["candidate"].partition("-")[0] for each in results}
    assert len(chart["points"]) == len({each["candidate"] for each in results})
    assert (chart["x"], chart["y"]) == ("eos", "linear_A") and {"wordsim_P", "pip_loss"} < {*chart["axes"]}
    mean = np.mean([each["scores"]["linear_A"] for each in results if each["candidate"] == first])
    assert chart["points"][0]["at"]["linear_A"] == pytest.approx(mean, abs=1e-4)
    # Written again the same, but for nothing.
    assert command(*table, *tried(seeds="[0,1]")) == 0
    assert (tmp_path / "o" / "evidence.html").read_text() == page


def test_other_files_of_the_folder_stay(client, table, tmp_path):
    assert run_command(*table, "out=o") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    assert command(*table, *tried(seeds="[0]")) == 0
    after = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    assert {*after} - {*before} == {"evidence.json", "evidence.html"}
    assert {name: after[name] for name in before} == before


def test_a_failed_candidate_is_no_score(client, table, name, tmp_path, monkeypatch, capsys):
    def fails(self, *given):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(KMeans, "_compress", fails)
    assert command(*table, *tried("allowed_failures=1", seeds="[0]")) == 0
    found = evidence(tmp_path)
    failed = [each for each in found["results"] if each["status"] == "failed"]
    assert failed and all(not each["scores"] and "out of luck" in each["reason"] for each in failed)
    whole = len(found["results"]) - len(failed)
    assert found["tasks"]["linear_A"]["measures"]["eos"]["candidates"] == whole
    assert "kmeans-b1 failed: RuntimeError: out of luck" in capsys.readouterr().err
    assert command(*table, *tried("allowed_failures=0", seeds="[0]")) == 4
    assert {run.info.status for run in runs(client, name, "evidence")} == {"FINISHED", "FAILED"}


def test_a_task_of_other_words_is_left_out_and_told(client, table, tmp_path, capsys):
    assert command(*table, *tried(seeds="[0]", include='["wordsim_*"]')) == 0
    assert "The table has no word of wordsim_alien: left out." in capsys.readouterr().out
    assert evidence(tmp_path)["left_out"] == ["wordsim_alien"]


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        ([], "required and not given: validate.tasks=FOLDER or validate.scores=FILE"),
        (["validate.tasks=nothere"], "validate.tasks = nothere is not a folder"),
        (
            ["validate.tasks=tasks", "validate.include=[linear_B]"],
            "validate.include has 'linear_B', which no task match",
        ),
        (["validate.tasks=tasks", "validate.include=linear_A"], "validate.include = 'linear_A': must be a list"),
        (["validate.tasks=tasks", "validate.include=[wordsim_alien]"], "the table has no word of any task in tasks"),
        (["validate.tasks=tasks", "validate.seeds=[0,0]"], "validate.seeds = [0, 0]: must be a list of different"),
        (["validate.tasks=tasks", "validate.seeds=[-1]"], "validate.seeds = [-1]: must be a list"),
        (["validate.tasks=tasks", "validate.seeds=3"], "validate.seeds = 3: must be a list"),
        (
            ["validate.tasks=tasks", "+validate.folds=3"],
            "there is no setting validate.folds: there are include, model, scores",
        ),
        (["validate=tasks"], "validate = 'tasks': give its settings one by one"),
        (["validate.scores=mine.csv"], "validate.scores has 1 candidates that are not among"),
        (["validate.tasks=tasks", "validate.include=[linear_A]", "budget=20"], "0 candidates are within 20 bytes"),
        (["validate.tasks=tasks", "validate.include=[linear_A]", "table.tokens=null"], "needs the tokens of the table"),
        (["validate.tasks=tasks", "validate.include=[linear_A]", "validate.scores=own.csv"], "has the task linear_A"),
        (["validate.task=tasks"], "there is no setting validate.task: did you mean validate.tasks?"),
    ],
)
def test_what_cannot_be_used_is_said(client, table, name, tmp_path, capsys, more, answer):
    (tmp_path / "mine.csv").write_text("candidate,score\nnobody,1\n")
    (tmp_path / "own.csv").write_text("candidate,score,task\nuniform-b1,1,linear_A\n")
    assert command(*table, "out=o", *more) == 2
    error = capsys.readouterr().err
    assert answer in error and error.count("\n") == 1
    assert not (tmp_path / "o").exists() and runs(client, name, "evidence") == []


@pytest.fixture
def wordpiece(table, tmp_path: Path) -> list[str]:
    """The settings of `table`, its tokens pieces, and a transformer that it is the word table of."""
    save_host(make_host(np.load(tmp_path / "t.npy")), tmp_path / "model.onnx")
    pieces = ["[UNK]", "[CLS]", "[SEP]", *TOKENS[: N - 3]]
    (tmp_path / "t.txt").write_text("\n".join(pieces))
    return [*table, "validate.model=model.onnx"]


def test_a_transformer_is_tried(client, wordpiece, tmp_path, capsys):
    given = "+candidates.pool.own={_target_: eigenselect.compressors.PCA, rate: 2}"
    assert command(*wordpiece, given, *tried(include="[similarity_A,linear_A]", seeds="[0]")) == 0
    found = evidence(tmp_path)
    assert found["tasks"]["similarity_A"]["files"] == ["A.tsv", "model.onnx", "t.txt"]
    assert found["tasks"]["similarity_A"]["missing"] == 0
    reached = {each["candidate"]: each["scores"] for each in found["results"]}
    without = {one for one, scores in reached.items() if "similarity_A" not in scores}
    assert without == {"pca-2x"} and all("linear_A" in scores for scores in reached.values())
    printed = " ".join(capsys.readouterr().out.split())
    assert "No score on similarity_A, whose model expects the table's own columns: pca-2x." in printed
    assert reached["uniform-b4"]["similarity_A"] > reached["uniform-b1"]["similarity_A"]


@pytest.mark.parametrize(
    ("more", "answer"),
    [
        (["table.path=small.npy"], "has a table of 60 x 6, the one to compress is 60 x 5: give the model that it"),
        (["table.keep=keep.txt"], "has a table of 60 x 6, the one to compress is 40 x 6: give the model that it"),
        (["validate.include=[linear_A]"], "validate.model = model.onnx has no use: add similarity_NAME or retrieval"),
        (["validate.tasks=null", "validate.scores=s.csv"], "validate.model = model.onnx has no use"),
        (["table.tokens=null"], "validate.model = model.onnx needs the pieces of its table: give them as table.tokens"),
    ],
)
def test_a_transformer_of_another_table_is_refused(client, wordpiece, tmp_path, capsys, more, answer):
    np.save(tmp_path / "small.npy", np.load(tmp_path / "t.npy")[:, :5])
    (tmp_path / "keep.txt").write_text("\n".join(TOKENS[:40]))
    (tmp_path / "s.csv").write_text("candidate,score\n")
    assert command(*wordpiece, *tried(include="[similarity_A]"), *more) == 2
    assert answer in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "o").exists()


def test_a_static_model_is_tried(client, tmp_path):
    folder = model2vec(tmp_path / "m", merged=True)
    rng = np.random.default_rng(0)
    pairs = [[" ".join(f"w{word}" for word in rng.integers(40, size=5)) for _ in range(2)] for _ in range(20)]
    (tmp_path / "tasks" / "sts").mkdir(parents=True)
    lines = [f"{score}\t{one}\t{other}\n" for score, (one, other) in enumerate(pairs)]
    (tmp_path / "tasks" / "sts" / "S.tsv").write_text("".join(lines))
    pool = ["candidates.bits=[1,2,4]", "budget=100%", *only("uniform")]
    assert command(f"table.path={folder}", *tried(include="[sts_S]", seeds="[0]"), *pool) == 0
    found, given = evidence(tmp_path), static.read(folder)
    assert found["tasks"]["sts_S"]["files"] == ["S.tsv", "tokenizer.json"] and given is not None
    for each in found["results"]:
        method = Uniform(int(each["candidate"].removeprefix("uniform-b")))
        payload = method.compress(read_table(given.file, tensor=given.tensor), np.random.default_rng(0))
        one, other = (given.model(payload).encode(side, normalize=True) for side in zip(*pairs, strict=True))
        expected = stats.spearmanr((one * other).sum(axis=1), np.arange(20)).statistic
        assert each["scores"]["sts_S"] == pytest.approx(expected)


def test_rows_are_read_in_steps(monkeypatch):
    rng = np.random.default_rng(0)
    table = compressors.EmbeddingTable(rng.standard_normal((50, 6)).astype(np.float32))
    payload = compressors.Spectral().compress(table, rng)
    rows = np.array([3, 49, 0, 7, 7])
    monkeypatch.setattr("eigenselect.compressors.payloads.base.READ_BYTES", 8 * payload.width)
    assert np.array_equal(payload.read(rows), payload.read(slice(0, 50))[rows])


def test_unknown_words_are_zero(table, tmp_path):
    task = WordSimilarity("wordsim_P", tmp_path / "tasks" / "wordsim" / "EN-P.txt", texts.Words())
    at = np.where(np.array(task.words) == "unheard", -1, 1)
    vectors, known = Words(np.array([4, 5]), {"wordsim_P": at}).of(task, np.ones((2, 3), np.float32))
    assert np.array_equal(vectors, np.repeat(known[:, None], 3, axis=1)) and known.sum() == len(task.words) - 1


def test_nothing_on_the_way_to_a_choice_knows_of_evidence():
    root = ROOT / "selector"
    mine = [root / "commands" / "validate.py", *(root / "evidence").rglob("*.py")]
    users = [path for path in ROOT.glob("[ces]*or*/**/*.py") if "eigenselect.selector.evidence" in path.read_text()]
    assert {*users} <= {*mine} and len(users) > 5


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_composes(path: Path) -> None:
    with initialize_config_module("eigenselect.conf", version_base="1.3"):
        settings = compose("validate", [f"+experiment={path.stem}", "table.path=t", "out=o", "validate.tasks=f"])
    read = EvidenceSettings.of(settings).selection
    assert read.budget.nbytes(1_000, 300) >= 4 * 1_000 * 300, "the float32 table is a candidate too"
    assert {"eos", "weighted_eos_p0.5", "weighted_eos_p4"} <= {*read.measures.keys}
    room = Room(10_000, 300, 4 * 10_000 * 300)
    sizes = [compressor.nbytes(room.n, room.d) for compressor in expand(read.candidates.pool, room)]
    assert len(sizes) >= 13
    if path.stem.startswith("criterion"):
        near = sum(abs(a - b) <= SAME_SIZE * min(a, b) for a, b in itertools.combinations(sizes, 2))
        assert near > 3 * len(sizes), "many pairs are of equal bytes"
