"""Tasks on small folders, and against other implementations."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from eigenselect.selector.evidence.tasks import catalogue, cnn, linear
from eigenselect.selector.evidence.tasks import sentences as reading
from eigenselect.selector.evidence.tasks.base import Task, rows_of_words
from eigenselect.selector.evidence.tasks.sentences import FOLDS, Sentences
from eigenselect.selector.evidence.tasks.texts import Words

GOOD, BAD, PLAIN = ("good", "great", "fine"), ("bad", "poor", "awful"), tuple(f"w{i}" for i in range(20))
WORDS = (*GOOD, *BAD, *PLAIN)


def write_sentences(path: Path, count: int, seed: int = 0) -> None:
    """Sentences that hold a good or a bad word among plain ones."""
    rng = np.random.default_rng(seed)
    texts = []
    for i in range(count):
        words = [*rng.choice(PLAIN, rng.integers(1, 9)), rng.choice((BAD, GOOD)[i % 2])]
        rng.shuffle(words)
        texts.append(f"{i % 2}\t{' '.join(words)}\n")
    path.write_text("".join(texts), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sentence").mkdir()
    (tmp_path / "wordsim").mkdir()
    write_sentences(tmp_path / "sentence" / "A.tsv", 200)
    for part, count in (("train", 150), ("dev", 50), ("test", 100)):
        write_sentences(tmp_path / "sentence" / f"B.{part}.tsv", count, seed=count)
    (tmp_path / "wordsim" / "EN-P-4.txt").write_text("good great 9\nbad\tpoor\t8\nGood bad 2.5\ngood unheard 1\n")
    (tmp_path / "wordsim" / "questions-words.txt").write_text(": one\ngood bad great poor\ngood bad fine w0\n")
    return tmp_path


@pytest.fixture
def few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with which the network learns from a few batches."""
    for name, value in (("RATE", 0.01), ("DROPOUT", 0.1), ("EPOCHS", 30)):
        monkeypatch.setattr(cnn, name, value)


def vectors(words, k: int = 16, seed: int = 0) -> np.ndarray:
    """Good and bad words on two sides of a hyperplane."""
    rng = np.random.default_rng(seed)
    made = {word: 0.5 * rng.standard_normal(k) + 3 * ((word in GOOD) - (word in BAD)) for word in (*WORDS, "unheard")}
    return np.array([made[word.lower()] for word in words], dtype=np.float32)


def find(folder: Path, include: list[str], *model: Path) -> list[Task]:
    return catalogue.find(folder, include, Words(), *model)


def read_sentences(files: list[Path]) -> Sentences:
    return reading.read_sentences(files, Words())


def named(folder: Path, name: str) -> Task:
    (task,) = find(folder, [name])
    return task


def reached(task: Task, seed: int = 0) -> float:
    return task.score(vectors(task.words), np.ones(len(task.words), dtype=bool), seed)


def test_names_and_patterns(folder: Path) -> None:
    assert [task.name for task in find(folder, ["*"])] == [
        *("analogy", "cnn_A", "cnn_B", "linear_A", "linear_B", "wordsim_P-4")
    ]
    assert [task.name for task in find(folder, ["wordsim_*", "*_A"])] == ["cnn_A", "linear_A", "wordsim_P-4"]


def test_words_are_found_as_they_are_or_lower_cased() -> None:
    assert rows_of_words(["Ab", "ab", "CD", "x"], {"Ab": 0, "ab": 1, "cd": 2}).tolist() == [0, 1, 2, -1]


def test_folds_and_splits(folder: Path) -> None:
    whole = read_sentences([folder / "sentence" / "A.tsv"])
    tests = [test for _, test in whole.splits()]
    assert len(tests) == FOLDS and sorted(np.concatenate(tests)) == list(range(200))
    for train, test in whole.splits():
        assert sorted([*train, *test]) == list(range(200)) and len(test) == 20
    train, dev, test = whole.held_out()
    assert (len(train), len(dev), len(test)) == (160, 20, 20) and sorted([*train, *dev, *test]) == list(range(200))
    assert np.array_equal(test, tests[0])

    files = sorted((folder / "sentence").glob("B.*"))
    published = read_sentences(files)
    ((train, test),) = published.splits()
    assert (len(train), len(test)) == (200, 100)
    train, dev, heldout = published.held_out()
    assert (len(train), len(dev)) == (150, 50) and np.array_equal(heldout, test)

    without_dev = read_sentences([path for path in files if "dev" not in path.name])
    train, dev, test = without_dev.held_out()
    assert sorted([*train, *dev, *test]) == list(range(250)) and len(test) == 100 and 5 <= len(dev) <= 25


def test_pooled_is_the_mean(folder: Path) -> None:
    sentences = read_sentences([folder / "sentence" / "A.tsv"])
    made = vectors(sentences.texts.words)
    expected = [made[ids].mean(axis=0) for ids in sentences.texts.ids]
    assert np.allclose(sentences.texts.pooled(made), expected, atol=1e-6)


def test_an_empty_sentence_is_zero(folder: Path) -> None:
    with (folder / "sentence" / "A.tsv").open("a") as file:
        file.write("1\t\n")
    sentences = read_sentences([folder / "sentence" / "A.tsv"])
    assert not sentences.texts.pooled(vectors(sentences.texts.words))[-1].any()
    assert 0 <= reached(named(folder, "linear_A")) <= 1 and 0 <= reached(named(folder, "cnn_A")) <= 1


@pytest.mark.parametrize("classes", [2, 4])
def test_the_linear_model_is_logistic_regression(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "PENALTY", 0.05)
    sklearn = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(classes)
    x = rng.standard_normal((300, 5)) * [1, 1, 0.1, 3, 1]
    y = (
        2 * np.eye(classes)[0] + x @ rng.standard_normal((5, classes)) + 1.5 * rng.standard_normal((300, classes))
    ).argmax(axis=1)
    ours = linear.fit(np.column_stack([x, np.ones(300)]), y, np.zeros((6, classes)))
    # Theirs has one vector of weights for two classes, ours two of half the size: half the penalty.
    strength = (2 if classes == 2 else 1) / (linear.PENALTY * 300)
    theirs = sklearn.LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(x, y)
    logits = np.column_stack([x, np.ones(300)]) @ ours
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(probabilities, theirs.predict_proba(x), atol=1e-3)
    again = linear.fit(np.column_stack([x, np.ones(300)]), y, ours + 0.1)
    assert np.allclose(
        again[:-1] - again[:-1].mean(1, keepdims=True), ours[:-1] - ours[:-1].mean(1, keepdims=True), atol=5e-3
    )


@pytest.mark.parametrize("name", ["linear_A", "linear_B", "cnn_A", "cnn_B"])
@pytest.mark.usefixtures("few_batches")
def test_what_can_be_learnt_is_learnt(folder: Path, name: str) -> None:
    task = named(folder, name)
    made, known = vectors(task.words), np.ones(len(task.words), dtype=bool)
    assert task.score(made, known, 0) >= 0.95
    assert task.score(made, known, 0) == task.score(made * 7, known, 0), "scale does not matter"
    assert 0.2 < task.score(np.zeros_like(made), known, 0) < 0.8, "and nothing from nothing"
    assert task.seeded == name.startswith("cnn")


@pytest.mark.parametrize("name", ["linear_B", "cnn_B"])
@pytest.mark.usefixtures("few_batches")
def test_it_is_the_test_part_that_counts(folder: Path, name: str) -> None:
    test = folder / "sentence" / "B.test.tsv"
    test.write_text("".join(f"{1 - int(line[0])}{line[1:]}\n" for line in test.read_text().splitlines()))
    assert reached(named(folder, name)) <= 0.05, "its labels are turned round"


def test_features_have_mean_square_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(linear, "fit", lambda features, labels, start: seen.append(features) or start)
    task = named(folder, "linear_A")
    for scale in (1, 1e-3):
        task.score(vectors(task.words) * np.float32(scale), np.ones(len(task.words), dtype=bool), 0)
    first, second = seen[0], seen[FOLDS]
    assert np.mean(first[:, :-1] ** 2) == pytest.approx(1, abs=0.1) and (first[:, -1] == 1).all()
    assert np.allclose(first, second, rtol=1e-5)


def test_the_network_is_that_of_torch_and_follows_the_seed(folder: Path) -> None:
    model = cnn._Model(6, 3, torch.Generator().manual_seed(1), "cpu")
    words = torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(2))
    *convolutions, weight, bias = model.parameters
    maps = []
    for width, kernel, offset in zip(cnn.WIDTHS, convolutions[::2], convolutions[1::2], strict=True):
        windows = torch.stack(
            [words[:, at : at + width] for at in range(9 - width + 1)], dim=1
        )  # (4, places, width, 6)
        maps.append((torch.einsum("bpwk,mkw->bpm", windows, kernel[:, :, 0]) + offset).relu().amax(dim=1))
    expected = torch.cat(maps, dim=1) @ weight.T + bias
    torch.testing.assert_close(model.logits(words, training=False), expected)
    assert not torch.equal(model.logits(words, training=True), model.logits(words, training=True))

    task = named(folder, "cnn_A")
    rng = np.random.default_rng(0)
    noisy = vectors(task.words) + 3 * rng.standard_normal((len(task.words), 16)).astype(np.float32)
    known = np.ones(len(noisy), dtype=bool)
    scores = [task.score(noisy, known, seed) for seed in (0, 0, 1, 2, 3)]
    assert scores[0] == scores[1] and len({*scores}) > 1


def test_padding_and_batches_change_no_answer(folder: Path) -> None:
    task = named(folder, "cnn_A")
    assert isinstance(task, cnn.SentenceCNN)
    rows = np.arange(130)
    batches = task._batches(rows, np.random.default_rng(0))
    assert sorted(np.concatenate(batches)) == list(rows) and max(map(len, batches)) == cnn.BATCH
    padded = task._padded(np.array([0, 1, 2]))
    for row, ids in zip(padded.tolist(), task.sentences.texts.ids[:3], strict=True):
        assert row[len(row) - len(ids) :] == ids.tolist() and {*row[: len(row) - len(ids)]} <= {len(task.words)}
        assert len(row) >= 5


def test_vectors_of_the_network_have_length_one_and_unknown_ones_are_drawn(folder: Path) -> None:
    task = named(folder, "cnn_A")
    assert isinstance(task, cnn.SentenceCNN)
    made, known = vectors(task.words), np.arange(len(task.words)) % 3 > 0
    frozen = task._frozen(made * 7, known, np.random.default_rng(0))
    assert np.allclose(np.linalg.norm(frozen, axis=1), 1) and len(frozen) == len(made) + 1
    assert np.allclose(frozen[:-1][known], made[known] / np.linalg.norm(made[known], axis=1, keepdims=True), atol=1e-6)
    again = task._frozen(made, known, np.random.default_rng(1))
    different = (np.abs(frozen - again) > 1e-3).any(axis=1)
    assert different[:-1].tolist() == (~known).tolist() and different[-1]


def test_word_similarity(folder: Path) -> None:
    task = named(folder, "wordsim_P-4")
    assert task.words == ["good", "great", "bad", "poor", "Good", "unheard"]
    known = np.array([word != "unheard" for word in task.words])
    assert task.missing(known) == 0.25
    made = vectors(task.words)
    cosine = [
        made[a] @ made[b] / np.linalg.norm(made[a]) / np.linalg.norm(made[b]) for a, b in ((0, 1), (2, 3), (4, 2))
    ]
    assert task.score(made, known, 0) == pytest.approx(stats.spearmanr(cosine, [9, 8, 2.5]).statistic)
    assert task.score(np.zeros_like(made), known, 0) == 0 == task.score(made, ~known & False, 0)


def test_analogies(folder: Path) -> None:
    questions = [" ".join(q) for q in itertools.permutations(["good", "bad", "great", "poor", "fine"], 4)]
    (folder / "wordsim" / "questions-words.txt").write_text("\n".join([": all", *questions, "good bad unheard w0"]))
    task = named(folder, "analogy")
    made = vectors(task.words, k=3)
    known = np.array([word != "unheard" for word in task.words])
    assert task.missing(known) == pytest.approx(1 / 121)
    unit = made / np.linalg.norm(made, axis=1, keepdims=True)
    right = 0
    for question in questions:
        a, b, c, answer = (task.words.index(word) for word in question.split())
        near = unit @ (unit[b] - unit[a] + unit[c])
        order = [i for i in np.argsort(-near) if i not in (a, b, c) and known[i]]
        right += order[0] == answer
    assert task.score(made, known, 0) == right / 120 and 0 < right < 120


def test_an_unknown_word_is_no_answer(folder: Path) -> None:
    (folder / "wordsim" / "questions-words.txt").write_text("a b c d\na b c x\n")
    task = named(folder, "analogy")
    known = np.array([word != "x" for word in task.words])
    made = {"a": (1, 0), "b": (0, 1), "c": (1, 0), "d": (0, -1), "x": (0, 0)}
    assert task.score(np.array([made[word] for word in task.words], np.float32), known, 0) == 1


def test_missing_tokens_are_counted_by_occurrence(folder: Path) -> None:
    task = named(folder, "linear_A")
    tokens = [word for line in (folder / "sentence" / "A.tsv").read_text().splitlines() for word in line[2:].split()]
    known = np.array([word != "w3" for word in task.words])
    assert task.missing(known) == pytest.approx(tokens.count("w3") / len(tokens))


def test_a_digest_follows_the_files(folder: Path) -> None:
    before = {task.name: task.digest for task in find(folder, ["*"])}
    assert len({*before.values()}) == 6
    write_sentences(folder / "sentence" / "B.dev.tsv", 60)
    after = {task.name: task.digest for task in find(folder, ["*"])}
    assert {name for name in before if before[name] != after[name]} == {"cnn_B", "linear_B"}


@pytest.mark.parametrize(
    ("file", "text", "answer"),
    [
        ("sentence/A.tsv", "1 no tab\n", r"A.tsv, line 1 is '1 no tab': it must be a label from 0 on, a tab, a text"),
        ("sentence/A.tsv", "x\ta\n", r"line 1 is 'x.ta': it must be a label"),
        ("sentence/A.tsv", "1\ta\n0\tb\n", r"has 2 sentences of 2 classes: at least 20 of 2 are needed"),
        ("sentence/A.tsv", "1\ta\n" * 30, r"has 30 sentences of 1 classes"),
        ("sentence/A.train.tsv", "1\ta\n", r"name one NAME.tsv, or NAME.train.tsv, NAME.test.tsv"),
        ("wordsim/EN-P-4.txt", "a b\n", r"EN-P-4.txt, line 1 is 'a b': it must be two words and a score"),
        ("wordsim/EN-P-4.txt", "a b c\n", r"it must be two words and a score"),
        ("wordsim/questions-words.txt", "a b c\n", r"line 1 is 'a b c': it must be four words"),
    ],
)
def test_files_of_another_form_are_refused(folder: Path, file: str, text: str, answer: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=answer):
        find(folder, ["*"])


def test_unreadable_text_is_refused(folder: Path) -> None:
    (folder / "sentence" / "A.tsv").write_bytes(b"1\t\xff\n")
    with pytest.raises(ValueError, match=r"A.tsv cannot be read as UTF-8 text"):
        find(folder, ["*"])


def test_folders_and_patterns_that_hold_nothing_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"validate.include has 'linear_C', which no task matches; there are linear_A, "
    ):
        find(folder, ["linear_A", "linear_C"])
    with pytest.raises(ValueError, match=r"nothere is not a folder"):
        find(tmp_path / "nothere", ["*"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no task"):
        find(tmp_path / "empty", ["*"])
