"""Tasks of a transformer, on a small generated one whose states are computed here by their formula."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from scipy import stats

from eigenselect.selector.evidence.tasks import transformer
from eigenselect.selector.evidence.tasks.base import Task
from eigenselect.selector.evidence.tasks.squad import sentence_ends
from eigenselect.selector.evidence.tasks.transformer import (
    AnswerRetrieval,
    OwnSimilarity,
    Transformer,
    TransformerTask,
)
from tests.evidence.test_tasks import WORDS, find, write_sentences
from tests.export.hosts import make_host, save_host

DATA = Path(__file__).resolve().parents[3] / "shared/data"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s", ".", "?", "what"]
N, D = len(PIECES), 8
SQUAD = "squad/Q.jsonl.gz"


def table(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N, D)).astype(np.float32)


def write_questions(path: Path, items: list[dict]) -> None:
    with gzip.open(path, "wt") as file:
        file.write("".join(json.dumps(item) + "\n" for item in items))


def made_questions(contexts: int = 8, seed: int = 0) -> list[dict]:
    """Contexts of three sentences, and two questions each that have most of the words of the sentence asked for."""
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(contexts):
        sentences = [[*map(str, rng.choice(WORDS, 5, replace=False)), "."] for _ in range(3)]
        context = [token for sentence in sentences for token in sentence]
        for which in rng.permutation(3)[:2]:
            at = 6 * int(which)  # at the very start of its sentence
            question = ["what", *sentences[which][1:4], "?"]
            items.append({"context": context, "question": question, "answer": [context[at]], "span": [at, at]})
    return items


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("sentence", "squad"):
        (tmp_path / name).mkdir()
    write_sentences(tmp_path / "sentence" / "A.tsv", 90)
    for part, count in (("train", 40), ("test", 60)):
        write_sentences(tmp_path / "sentence" / f"B.{part}.tsv", count, seed=count)
    write_questions(tmp_path / SQUAD, made_questions())
    save_host(make_host(table()), tmp_path / "model.onnx")
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    return tmp_path


def found(folder: Path, *include: str) -> list[Task]:
    return find(folder, include, folder / "model.onnx", folder / "vocab.txt")


def named(folder: Path, name: str) -> TransformerTask:
    (task,) = found(folder, name)
    assert isinstance(task, TransformerTask)
    return task


def reached(task: Task, vectors: np.ndarray) -> float:
    return task.score(vectors, np.ones(N, dtype=bool), 0)


def oracle(folder: Path, texts: list[str]) -> Callable[[np.ndarray], np.ndarray]:
    """The vectors of texts of the vocabulary's words, by the model's formula."""
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(folder / "model.onnx").graph.initializer}
    ids = [[2, *(PIECES.index(word) for word in text.split()), 3] for text in texts]

    def vectors(given: np.ndarray) -> np.ndarray:
        means = [np.tanh((given[row] + stored["types.weight"][0]) @ stored["weight"]).mean(axis=0) for row in ids]
        return np.array(means) / np.linalg.norm(means, axis=1, keepdims=True)

    return vectors


def texts_of(task: TransformerTask) -> list[str]:
    return [" ".join(PIECES[row] for row in ids[1:-1]) for ids in task._split]


def test_they_are_there_with_a_model_only(folder: Path) -> None:
    names = [task.name for task in found(folder, "similarity_*", "retrieval_*")]
    assert names == ["retrieval_squad", "similarity_A", "similarity_B"]
    assert not {*names} & {task.name for task in find(folder, ["*"])}
    for pattern in names:
        with pytest.raises(ValueError, match=r"there are .*; similarity_NAME and retrieval_squad need validate.model$"):
            find(folder, [pattern])
    with pytest.raises(ValueError, match=r"there are .*similarity_B.*retrieval_squad$"):
        found(folder, "similarity_C")


def test_texts_are_split_into_pieces(folder: Path) -> None:
    opened = Transformer(folder / "model.onnx", folder / "vocab.txt")
    unknown, cls, sep = 1, 2, 3
    rows = [cls, PIECES.index("good"), PIECES.index("w1"), PIECES.index("##s"), unknown, sep]
    assert opened.split(["Góod w1s zzz"])[0].tolist() == rows
    (long,) = opened.split(["good " * 500])
    assert len(long) == transformer.LONGEST and (long[0], long[-1]) == (cls, sep)
    (folder / "vocab.txt").write_text("\n".join([*PIECES[:-1], "Good"]))
    assert Transformer(folder / "model.onnx", folder / "vocab.txt").split(["Good good GOOD"])[0].tolist() == [
        *(cls, N - 1, PIECES.index("good"), unknown, sep)
    ]


def test_vectors_are_means_of_the_states(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "BATCH", 3)
    task = named(folder, "similarity_A")
    expected = oracle(folder, texts_of(task))
    for given in (table(), table(1), np.asfortranarray(table(2))):
        assert np.allclose(task.transformer.vectors(given, task._split), expected(given), atol=1e-5)
    assert np.array_equal(task.transformer.table, table()) and task.words == PIECES and task.shape == (N, D)


def test_similarity_is_rank_correlation_with_the_models_own(folder: Path) -> None:
    task = named(folder, "similarity_A")
    assert isinstance(task, OwnSimilarity) and not task.seeded
    expected = oracle(folder, texts_of(task))
    pairs, own = task._pairs()

    def cosines(given: np.ndarray) -> np.ndarray:
        vectors = expected(given)
        return np.array([vectors[a] @ vectors[b] for a, b in pairs.T])

    assert np.allclose(own, cosines(table()), atol=1e-5)
    noise = np.random.default_rng(3).standard_normal((N, D)).astype(np.float32)
    scores = []
    for size in (0.0, 0.2, 1.0, 5.0):
        given = table() + np.float32(size) * noise
        scores.append(reached(task, given))
        assert scores[-1] == pytest.approx(stats.spearmanr(cosines(given), own).statistic, abs=2e-3)
    assert scores[0] == 1 and scores == sorted(scores, reverse=True) and scores[-1] < 0.8


def test_pairs_spread_from_near_to_far(folder: Path) -> None:
    write_sentences(folder / "sentence" / "A.tsv", 700)
    task = named(folder, "similarity_A")
    assert len(task._split) == len({*texts_of(task)}) == transformer.SENTENCES
    assert isinstance(task, OwnSimilarity)
    pairs, _ = task._pairs()
    assert pairs.shape == (2, 1000) and (pairs[0] != pairs[1]).all()
    assert np.bincount(pairs[0]).tolist() == [transformer.PARTNERS] * transformer.SENTENCES
    vectors = task.transformer.vectors(table(), task._split)
    near = vectors @ vectors.T
    place = np.array([(near[a] > near[a, b]).sum() - (near[a, a] > near[a, b]) for a, b in pairs.T])  # 0 is nearest
    quarters = np.histogram(np.log(place + 1.5) / np.log(500), bins=4, range=(0, 1))[0]
    assert quarters.min() > 150, "the logarithm of the place is even"


def test_no_sentence_is_its_own_partner(folder: Path) -> None:
    texts = [f"{i % 2}\t{' '.join(('good', 'w1', 'bad')[i % 3 :])}{' W2' * i}\n" for i in range(40)]
    (folder / "sentence" / "A.tsv").write_text("".join([*texts, *(text.lower() for text in texts)]))
    task = named(folder, "similarity_A")
    assert isinstance(task, OwnSimilarity) and len(task._split) == 79, (
        "the capitals make other texts of the same pieces"
    )
    pairs, _ = task._pairs()
    assert (pairs[0] != pairs[1]).all()


def test_similarity_is_of_the_test_part(folder: Path) -> None:
    task = named(folder, "similarity_B")
    lines = (folder / "sentence" / "B.test.tsv").read_text().splitlines()
    assert {*texts_of(task)} == {line[2:] for line in lines}


def test_sentences_end_at_their_marks() -> None:
    context = 'He left . " Why ? ! She ( 2 ) asked ! ) Mr. X is'.split()
    assert sentence_ends(context) == [4, 7, 14, 17]
    assert sentence_ends(["a", "."]) == [2] and sentence_ends(["a"]) == [1]


def test_retrieval_is_mean_reciprocal_rank(folder: Path) -> None:
    items = made_questions()
    task = named(folder, "retrieval_squad")
    assert isinstance(task, AnswerRetrieval) and not task.seeded
    texts = texts_of(task)
    asked, sentences = texts[:16], texts[16:]
    assert len(sentences) == 24
    right = {}
    for item in items:
        whole, at = " ".join(item["context"]), item["span"][0] // 6 * 6
        assert whole.count(" .") == 3
        right[" ".join(item["question"])] = " ".join(item["context"][at : at + 6])
    assert sorted(asked) == sorted(right)
    expected = oracle(folder, texts)
    for given in (table(), table(4)):
        cosine = expected(given)[:16] @ expected(given)[16:].T
        ranks = [
            1 + int((row > row[sentences.index(right[question])]).sum())
            for row, question in zip(cosine, asked, strict=True)
        ]
        assert reached(task, given) == pytest.approx(np.mean([1 / rank for rank in ranks]))
    assert 0.3 < reached(task, table()) < 1


def test_sentences_found_alike_share_their_rank(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = named(folder, "retrieval_squad")
    monkeypatch.setattr(Transformer, "vectors", lambda self, given, split: np.ones((len(split), 4), np.float32))
    assert reached(task, table()) == pytest.approx(1 / 12.5)


def test_contexts_are_drawn_and_questions_without_their_answer_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = made_questions(contexts=14)
    items[3]["answer"] = ["elsewhere"]
    items[5] |= {"span": [3, 2], "answer": []}
    write_questions(folder / SQUAD, items)
    task = named(folder, "retrieval_squad")
    assert isinstance(task, AnswerRetrieval) and len(task._answers) == 26
    monkeypatch.setattr(transformer, "CONTEXTS", 9)
    fewer = named(folder, "retrieval_squad")
    assert isinstance(fewer, AnswerRetrieval) and 16 <= len(fewer._answers) <= 18
    assert len(fewer._split) == len(fewer._answers) + 27


def test_missing_pieces_are_counted_by_occurrence(folder: Path) -> None:
    task = named(folder, "similarity_A")
    pieces = [piece for text in texts_of(task) for piece in ("[CLS]", *text.split(), "[SEP]")]
    known = np.array([piece != "w3" for piece in PIECES])
    assert task.missing(known) == pytest.approx(pieces.count("w3") / len(pieces))


def test_threads_share_a_task(folder: Path) -> None:
    tables = [table(seed) for seed in range(8)]
    tasks = found(folder, "similarity_A", "retrieval_squad")
    alone = [[reached(task, given) for given in tables] for task in tasks]
    with ThreadPoolExecutor(4) as pool:
        for task, scores in zip(found(folder, "similarity_A", "retrieval_squad"), alone, strict=True):
            assert list(pool.map(lambda given, task=task: reached(task, given), tables)) == scores


@pytest.mark.parametrize("file", ["model.onnx", "vocab.txt", "sentence/B.test.tsv", SQUAD])
def test_a_digest_follows_the_files(folder: Path, file: str) -> None:
    before = {task.name: task.digest for task in found(folder, "*")}
    if file == "model.onnx":
        save_host(make_host(table(1)), folder / file)
    elif file == "vocab.txt":
        (folder / file).write_text("\n".join([*PIECES[:-1], "other"]))
    elif file == SQUAD:
        write_questions(folder / file, made_questions(seed=1))
    else:
        write_sentences(folder / file, 61)
    after = {task.name: task.digest for task in found(folder, "*")}
    ours = {name for name in before if before[name] != after[name]}
    transformers = {"similarity_A", "similarity_B", "retrieval_squad"}
    changed = {"sentence/B.test.tsv": {"similarity_B", "linear_B", "cnn_B"}, SQUAD: {"retrieval_squad", "search_squad"}}
    assert ours == changed.get(file, transformers)


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        (PIECES[:-1], rf"vocab.txt has {N - 1} pieces, the table of .*model.onnx {N} rows: give the vocabulary"),
        (["a", "b", *PIECES[2:]], r"vocab.txt has no \[UNK\]: validate.model needs a WordPiece vocabulary with"),
        ([f"w{i}" for i in range(N)], r"vocab.txt has no \[UNK\], \[CLS\], \[SEP\]: "),
    ],
)
def test_other_vocabularies_are_refused(folder: Path, pieces: list[str], answer: str) -> None:
    (folder / "vocab.txt").write_text("\n".join(pieces))
    with pytest.raises(ValueError, match=answer):
        found(folder, "similarity_A")


def test_what_is_not_there_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"model.onnx needs the pieces of its table: give them as table.tokens=FILE"):
        find(folder, ["similarity_A"], folder / "model.onnx")
    with pytest.raises(ValueError, match=r"table.tokens = .*no.txt: no such file"):
        find(folder, ["similarity_A"], folder / "model.onnx", folder / "no.txt")
    with pytest.raises(ValueError, match=r"no.onnx: no such file"):
        find(folder, ["similarity_A"], folder / "no.onnx", folder / "vocab.txt")
    monkeypatch.setitem(sys.modules, "tokenizers.implementations", None)
    with pytest.raises(ValueError, match=r"needs the package tokenizers, .*: pip install 'eigenselect\[evidence\]'$"):
        found(folder, "similarity_A")
    assert [task.name for task in found(folder, "linear_A")] == ["linear_A"], "which needs none of it"


LINE = {"context": ["a", "."], "question": ["a", "?"], "answer": ["a"], "span": [0, 0]}


@pytest.mark.parametrize(
    "line",
    [
        *("", "{", "[]", "3", '"a"'),
        *(json.dumps({key: value for key, value in LINE.items() if key != left}) for left in LINE),
        *(json.dumps(LINE | {"span": span}) for span in ([0], [0, 1, 2], ["a", 1], [0.5, 1], None)),
        *(json.dumps(LINE | {"context": context}) for context in ([1], None, {"a": 1})),
    ],
)
def test_lines_of_another_form_are_refused(folder: Path, line: str) -> None:
    with gzip.open(folder / SQUAD, "wt") as file:
        file.write(f"{json.dumps(LINE)}\n{line}\n")
    with pytest.raises(
        ValueError, match=r"Q.jsonl.gz, line 2 is .*: it must be a JSON object with the lists of tokens"
    ):
        named(folder, "retrieval_squad")


def test_files_that_hold_too_little_are_refused(folder: Path) -> None:
    write_questions(folder / SQUAD, made_questions(contexts=2))
    with pytest.raises(ValueError, match=r"has 6 sentences in the contexts of 4 questions: at least 20 are needed"):
        named(folder, "retrieval_squad")
    for content in (b"text", gzip.compress(b"text" * 99)[:-9], gzip.compress(b"\xff")):
        (folder / SQUAD).write_bytes(content)
        with pytest.raises(ValueError, match=r"Q.jsonl.gz cannot be read as UTF-8 text in gzip"):
            named(folder, "retrieval_squad")
    write_sentences(folder / "sentence" / "B.test.tsv", 6)
    with pytest.raises(
        ValueError, match=r"similarity_B can draw from 6 different sentences, of the test part.* at least 20"
    ):
        named(folder, "similarity_B")


@pytest.mark.data
@pytest.mark.slow
def test_fewer_bits_keep_less_of_minilm(monkeypatch: pytest.MonkeyPatch) -> None:
    model = DATA / "onnx" / "all-MiniLM-L6-v2.int8weights.onnx"
    vocabulary = DATA / "embeddings" / "minilm_l6.vocab.txt"
    if not model.exists():
        pytest.skip(f"{model} is not here")
    monkeypatch.setattr(transformer, "SENTENCES", 60)
    monkeypatch.setattr(transformer, "CONTEXTS", 8)
    retrieval, similarity = find(DATA / "tasks", ["similarity_SST2", "retrieval_squad"], model, vocabulary)
    assert isinstance(similarity, OwnSimilarity)
    own = similarity.transformer.table
    known = np.ones(len(own), dtype=bool)
    signs = (np.sign(own) * np.abs(own).mean(axis=1, keepdims=True)).astype(np.float32)
    other = (np.random.default_rng(0).standard_normal(own.shape) * own.std()).astype(np.float32)
    for task, most, least in ((similarity, 1.0, 0.6), (retrieval, 0.7, 0.6)):
        scores = [task.score(given, known, 0) for given in (own, signs, other)]
        assert scores[0] >= most and scores == sorted(scores, reverse=True) and scores[1] > least > scores[2]
