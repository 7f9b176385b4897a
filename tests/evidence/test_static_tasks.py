"""Tasks of tables that are used as they are, against written-out sums and other implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from eigenselect.compressors import EmbeddingTable, Uniform
from eigenselect.selector.evidence.tasks.base import Task, rows_of_words
from eigenselect.selector.evidence.tasks.catalogue import find
from eigenselect.selector.evidence.tasks.pairs import average_precision
from eigenselect.selector.evidence.tasks.ratings import PENALTY
from eigenselect.selector.evidence.tasks.texts import Splitter, StaticTokens, Words
from eigenselect.selector.sources import static
from tests.evidence.test_transformer import SQUAD, made_questions, write_questions
from tests.selector.test_static import D, N, model2vec, table

TOKENS = [f"w{i}" for i in range(N - 1)]


def texts(count: int, seed: int = 0, first: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(TOKENS[first : first + 40], rng.integers(2, 9))) for _ in range(count)]


def write(path: Path, rows: list[tuple]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    made = tmp_path / "tasks"
    made.mkdir()
    one, other = texts(30), texts(30, seed=1)
    write(
        made / "sts" / "S.x.tsv", [("score", "sentence1", "sentence2"), *zip(rng.random(30), one, other, strict=True)]
    )
    write(made / "paraphrase" / "P.tsv", [*zip(rng.integers(2, size=30), one, other, strict=True)])
    queries = [f"{query} w50" for query in one for _ in range(3)]
    answers = texts(90, seed=2)
    write(made / "search" / "Q.tsv", [*zip([1, 0, 0] * 25 + [0] * 15, queries, answers, strict=True)])
    ratings = [(f"u{user}", f"w{item}", rng.integers(1, 6)) for user in range(9) for item in rng.permutation(30)[:14]]
    rng.shuffle(ratings)
    write(made / "ratings" / "R.train.tsv", ratings[:90])
    write(made / "ratings" / "R.test.tsv", [*ratings[90:], ("u99", "w3", 4)])
    (made / "squad").mkdir()
    write_questions(made / SQUAD, made_questions())
    return made


def named(folder: Path, name: str, splitter: Splitter | None = None) -> Task:
    (task,) = find(folder, [name], splitter or Words())
    return task


def looked_up(task: Task, vectors: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A task's vectors in a table of `TOKENS`, and which are known."""
    vectors = table(N) if vectors is None else vectors
    rows = rows_of_words(task.words, {token: row for row, token in enumerate(TOKENS)})
    found = vectors[rows]
    found[rows < 0] = 0
    return found, rows >= 0


def reached(task: Task, vectors: np.ndarray | None = None) -> float:
    return task.score(*looked_up(task, vectors), 0)


def cosines(one: list[str], other: list[str]) -> np.ndarray:
    """Of sums of rows, (one, other)."""
    vectors = {token: row for token, row in zip(TOKENS, table(N).astype(np.float64), strict=False)}
    sums = [
        np.array([sum(vectors.get(w, np.zeros(D)) for w in text.split()) for text in each]) for each in (one, other)
    ]
    a, b = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in sums)
    return a @ b.T


def lines(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_names(folder: Path) -> None:
    expected = ["next_R", "paraphrase_P", "rating_R", "search_Q", "search_squad", "sts_S.x"]
    assert [task.name for task in find(folder, ["*"], Words())] == expected
    assert not any(task.seeded or task.shape for task in find(folder, ["*"], Words()))


def test_similarity_of_sentences(folder: Path) -> None:
    scores, one, other = zip(*lines(folder / "sts" / "S.x.tsv")[1:], strict=True)
    expected = stats.spearmanr(np.diag(cosines(one, other)), [*map(float, scores)]).statistic
    task = named(folder, "sts_S.x")
    assert reached(task) == pytest.approx(expected, abs=1e-6)
    assert reached(task, 7 * table(N)) == pytest.approx(reached(task)) and reached(task, np.zeros((N, D), "f4")) == 0


def test_paraphrases(folder: Path) -> None:
    labels, one, other = zip(*lines(folder / "paraphrase" / "P.tsv"), strict=True)
    expected = average_precision(np.diag(cosines(one, other)), np.array(labels) == "1")
    assert reached(named(folder, "paraphrase_P")) == pytest.approx(expected)


def test_average_precision_of_ties_too() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        nearness, right = rng.integers(5, size=12) / 4, rng.random(12) < 0.4
        right[0] = True
        assert average_precision(nearness, right) == pytest.approx(metrics.average_precision_score(right, nearness))


def test_search_is_mean_reciprocal_rank(folder: Path) -> None:
    rows = lines(folder / "search" / "Q.tsv")
    searched = list(dict.fromkeys(text for _, _, text in rows))
    right = {query: searched.index(text) for label, query, text in rows if label == "1"}
    assert len(right) == 25
    near = cosines([*right], searched)
    ranks = [1 + int((row > row[place]).sum()) for row, place in zip(near, right.values(), strict=True)]
    task = named(folder, "search_Q")
    assert reached(task) == pytest.approx(np.mean(1 / np.array(ranks)))
    assert reached(task, np.ones((N, D), np.float32)) == pytest.approx(2 / (len(searched) + 1)), "all tied"


def test_the_nearest_of_several_right_texts_counts(folder: Path) -> None:
    write(folder / "search" / "Q.tsv", [(1, f"w{i}", f"w{j}") for i in range(20) for j in (i, 60)])
    assert reached(named(folder, "search_Q")) == 1


def test_answers_are_searched_among_the_sentences_of_all_contexts(folder: Path) -> None:
    task = named(folder, "search_squad")
    assert len(task._texts) == 16 + 24 and len(task._right) == 16  # type: ignore[attr-defined]
    words = [*task.words]
    hot = np.eye(len(words), dtype=np.float32)
    assert task.score(hot, np.ones(len(words), bool), 0) > 0.9, "questions share their words with their answer"


def parts(folder: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    found = []
    for part in ("train", "test"):
        user, item, rating = zip(*lines(folder / "ratings" / f"R.{part}.tsv"), strict=True)
        found.append((np.array(user), np.array([int(each[1:]) for each in item]), np.array(rating, float)))
    return found


def test_a_regression_of_ratings(folder: Path) -> None:
    (user, item, rating), (who, what, given) = parts(folder)
    task = named(folder, "rating_R")
    vectors, _ = looked_up(task)
    x = table(N)[: max(item.max(), what.max()) + 1] / np.sqrt((vectors.astype(np.float64) ** 2).mean())
    mean = rating.mean()

    def bias(of: np.ndarray, left: np.ndarray, one: object) -> float:
        return left[of == one].sum() / ((of == one).sum() + PENALTY)

    items = {each: bias(item, rating - mean, each) for each in {*item, *what}}
    of_items = np.array([items[each] for each in item])
    users = {each: bias(user, rating - mean - of_items, each) for each in {*user, *who}}
    left = rating - mean - of_items - np.array([users[each] for each in user])
    predicted = []
    for each, asked in zip(who, what, strict=True):
        mine = user == each
        stacked = np.vstack([x[item[mine]], np.sqrt(PENALTY) * np.eye(D)])
        weights = np.linalg.lstsq(stacked, np.concatenate([left[mine], np.zeros(D)]), rcond=None)[0]
        predicted.append(mean + items[asked] + users[each] + x[asked] @ weights)
    expected = 1 - ((given - predicted) ** 2).sum() / ((given - given.mean()) ** 2).sum()
    assert reached(task) == pytest.approx(expected) == pytest.approx(reached(task, 9 * table(N)))


def test_next_items(folder: Path) -> None:
    (user, item, rating), (who, what, given) = parts(folder)
    task = named(folder, "next_R")
    rows = table(N).astype(np.float64)
    every = [int(word[1:]) for word in task.words]
    found = []
    for each in {*who}:
        mine, usual = user == each, rating[user == each].mean() if (user == each).any() else 0
        liked = item[mine & (rating >= usual)]
        wanted = {*what[(who == each) & (given >= usual)]} - {*item[mine]}
        if not wanted or not len(liked):
            continue
        mean = rows[liked].mean(axis=0)
        left = sorted({*every} - {*item[mine]}, key=lambda i: -(rows[i] @ mean) / np.linalg.norm(rows[i]))
        places = [place for place, i in enumerate(left, 1) if i in wanted]
        found.append(np.mean([hit / place for hit, place in enumerate(places, 1)]))
    assert len(found) == 9 and reached(task) == pytest.approx(np.mean(found))


def test_what_is_missing_is_counted_by_occurrence(folder: Path) -> None:
    task = named(folder, "paraphrase_P")
    tokens = [token for _, *pair in lines(folder / "paraphrase" / "P.tsv") for text in pair for token in text.split()]
    known = np.array([word != "w3" for word in task.words])
    assert 0 < task.missing(known) == pytest.approx(tokens.count("w3") / len(tokens))


def test_words_of_texts() -> None:
    made = Words().raw(["It doesn't rain, we'll can't.", "U.S. 3-year-olds' café", ""])
    assert made == [
        ["It", "does", "n't", "rain", ",", "we", "'ll", "ca", "n't", "."],
        ["U", ".", "S", ".", "3", "-", "year", "-", "olds", "'", "café"],
        [],
    ]
    assert Words().tokenized(["It does n't ."]) == [["It", "does", "n't", "."]]


def test_a_static_model_has_its_own_vectors(tmp_path: Path) -> None:
    """Of a merged vocabulary: the row of each id and its factor are those of the model."""
    given = static.read(model2vec(tmp_path / "m", merged=True))
    assert given is not None
    splitter = StaticTokens(given)
    asked = ["w3 w5 nothing w3", "w250", "nothing"]
    tokens = splitter.raw(asked)
    assert tokens == [["w3", "w5", "w3"], ["w250"], []]
    payload = Uniform(4).compress(EmbeddingTable(table(given.shape[0])), np.random.default_rng(0))
    row_of, rows = splitter.row_of(None), splitter.rows(payload)
    made = [rows.read(np.array([row_of[token] for token in each], np.int64)).sum(axis=0) for each in tokens]
    expected = given.model(payload).encode(asked, normalize=True)
    assert np.allclose([each / max(np.linalg.norm(each), 1e-9) for each in made], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "text", "answer"),
    [
        ("sts/S.x.tsv", "1\ta\n", r"line 1 is '1\\ta': it must be a score, a tab, a sentence, a tab, a sentence"),
        ("sts/S.x.tsv", "score\ta\tb\nx\ta\tb\n", r"line 2 is 'x\\ta\\tb': it must be a score"),
        ("sts/S.x.tsv", "nan\ta\tb\n", "it must be a score"),
        ("sts/S.x.tsv", "1\ta\tb\n" * 9, "has 9 pairs: at least 20 are needed"),
        ("paraphrase/P.tsv", "2\ta\tb\n", r"line 1 is '2\\ta\\tb': it must be 0 or 1, a tab, a sentence"),
        ("paraphrase/P.tsv", "1\ta\tb\n" * 30, "has pairs of one kind only"),
        ("search/Q.tsv", "1\ta\tb\n" * 30, "has 1 queries with a text labelled 1: at least 20 are needed"),
        ("ratings/R.test.tsv", "u\ti\n", r"line 1 is 'u\\ti': it must be a user, a tab, an item, a tab, a rating"),
        ("ratings/R.test.tsv", "u\ti\t3\n", "has 1 ratings: at least 20 are needed"),
        ("ratings/R.dev.tsv", "u\ti\t3\n", "name NAME.train.tsv and NAME.test.tsv"),
    ],
)
def test_files_of_another_form_are_refused(folder: Path, file: str, text: str, answer: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=answer):
        find(folder, ["*"], Words())
