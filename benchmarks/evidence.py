"""The figures of docs/evidence.md.

    python benchmarks/evidence.py run DATA [NAME ...]    try everything again, hours: benchmarks/evidence/NAME.json
    python benchmarks/evidence.py write                  write docs/evidence.md from these files, minutes

DATA holds `embeddings/` and `tasks/`, with the files that `RUNS` names; `evidence_data.py` makes those of `uses`. What
stands in docs/evidence.md between the marks `<!-- NAME -->` and `<!-- end -->` is written here, and nowhere else.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import evidence_uses
import numpy as np
from figures import cell, grid, number
from theory import theory

from eigenselect.selector.evidence.analysis.comparison import compare
from eigenselect.selector.evidence.analysis.statistics import spearman

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "evidence.md"
RESULTS = HERE / "evidence"
DIGITS = 9

GLOVE_50 = "table.path={data}/embeddings/glove.6B.50d.sub.txt.gz"
GLOVE_100 = "table.path={data}/embeddings/glove.6B.100d.sub.txt.gz"
ENGLISH = "table.path={data}/embeddings/en_md_300d.npy table.tokens={data}/embeddings/en_md_300d.vocab.txt"
WORDPIECE = (
    "table.path={data}/embeddings/minilm_l6_wordpiece_384d.fp16.safetensors "
    "table.tokens={data}/embeddings/minilm_l6.vocab.txt validate.model={data}/onnx/all-MiniLM-L6-v2.int8weights.onnx"
)
DEFAULT = (
    "use=frozen measures.row_weights=zipf validate.seeds=[0] validate.include=[sts_*,paraphrase_*,search_*,"
    "wordsim_MEN-TR-3k,wordsim_SIMLEX-999,linear_SST2] table.path={data}/embeddings/"
)
"""The default pool, under a budget."""
TRAINED = "~candidates.pool.light_token ~candidates.pool.dccl"
"""The methods of `uses` that are left out for large tables: they are trained, for minutes each."""
STATIC = "+experiment=uses table.path={data}/embeddings/"
RUNS = {
    "study-glove50": f"+experiment=paper_sentiment {GLOVE_50}",
    "study-glove100": f"+experiment=paper_sentiment {GLOVE_100} validate.include=[cnn_MPQA,cnn_SST2]",
    "criterion-glove50": f"+experiment=criterion {GLOVE_50}",
    "criterion-glove100": f"+experiment=criterion {GLOVE_100}",
    "criterion-english300": f"+experiment=criterion {ENGLISH} validate.seeds=[0,1]",
    "criterion-wordpiece": f"+experiment=criterion_wordpiece {WORDPIECE} ~candidates.pool.dccl",
    "uses-wordllama": f"{STATIC}wordllama {TRAINED}",
    "uses-wordpieces": f"{STATIC}wordpieces candidates.row=[48,96,192] {TRAINED} ~candidates.pool.product",
    "uses-english300": f"{STATIC}english300_sif.npy table.tokens={{data}}/embeddings/english300_sif.txt "
    f"candidates.row=[37,75,150] {TRAINED} ~candidates.pool.product",
    "uses-glove100": f"{STATIC}glove100_sif.npy table.tokens={{data}}/embeddings/glove100_sif.txt "
    f"candidates.row=[12,25,50] {TRAINED}",
    "uses-glove50": f"{STATIC}glove50_sif.npy table.tokens={{data}}/embeddings/glove50_sif.txt "
    "candidates.row=[6,12,25]",
    "uses-movielens": f"{STATIC}movielens.npy table.tokens={{data}}/embeddings/movielens.txt "
    "candidates.row=[4,8,16] validate.include=[next_*,rating_*]",
    "default-wordllama": f"{DEFAULT}wordllama budget=2.3MB",
    "default-wordpieces": f"{DEFAULT}wordpieces budget=7%",
    **{
        f"default-{name}": f"{DEFAULT}{name}_sif.npy table.tokens={{data}}/embeddings/{name}_sif.txt budget=7%"
        for name in ("english300", "glove100", "glove50")
    },
    "plain-glove50": f"{GLOVE_50} budget=60% validate.seeds=[0] validate.include=[sts_*]",
    "default-movielens": f"{DEFAULT}movielens.npy table.tokens={{data}}/embeddings/movielens.txt budget=7% "
    "validate.include=[next_*,rating_*]",
}
"""Name -> settings of `selector.commands.validate`."""

SEEDED = {"uses-glove50", "uses-movielens"}
SEEDS = "candidates=uses_random validate.seeds=[1]"
"""What is tried after these runs, beside their own settings: another seed where methods draw."""

TITLES = {
    "study-glove50": "GloVe 50-d",
    "study-glove100": "GloVe 100-d",
    "criterion-glove50": "GloVe 50-d",
    "criterion-glove100": "GloVe 100-d",
    "criterion-english300": "English 300-d",
    "criterion-wordpiece": "WordPiece 384-d",
}

PUBLISHED = "GloVe 6B 300d"
MEASURES = ("eos", "pip_loss", "delta", "delta_max", "projected_reconstruction_error")
TUNED = ("criterion-glove50", ("linear_MR", "linear_MPQA", "linear_Subj"))
"""Where the exponent is chosen: a run and its tasks. It is reported on everything else."""
ERRORS = ("selection_error", "selection_error_equal_bytes")


def run(data: Path, names: Sequence[str]) -> None:
    """Do the runs and keep what the document needs of them."""
    for name in names or [*RUNS, "theory"]:
        if name == "theory":
            found: dict[str, Any] = theory(str(data / "embeddings" / "glove.6B.50d.sub.txt.gz"))
        else:
            found = tried(data, RUNS[name])
            if name in SEEDED:
                found["results"] += tried(data, f"{RUNS[name]} {SEEDS}")["results"]
        keep(name, found)


def tried(data: Path, settings: str) -> dict[str, Any]:
    """What `validate` finds."""
    words = [*settings.format(data=data.resolve()).split(), f"validate.tasks={data.resolve()}/tasks"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "eigenselect", "validate", *words, f"out={folder}/out"], check=True)
        return kept(json.loads(Path(folder, "out", "evidence.json").read_text(encoding="utf-8")))


def kept(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What the document needs of an `evidence.json`."""
    rows = [
        {
            "candidate": row["candidate"],
            "nbytes": row["nbytes"],
            "seed": row["seed"],
            "measures": {key: _short(value) for key, value in row["measures"].items()},
            "scores": {key: _short(value) for key, value in row["scores"].items()},
        }
        for row in evidence["results"]
    ]
    table = {key: evidence["table"][key] for key in ("n", "d", "digest")}
    missing = {name: task["missing"] for name, task in evidence["tasks"].items()}
    found = {"table": table, "budget_bytes": evidence["budget_bytes"], "criterion": evidence["criterion"]}
    return {**found, "seeds": evidence["seeds"], "missing": missing, "results": rows}


def keep(name: str, found: Mapping[str, Any]) -> None:
    """Write the results of a run, a line a candidate and seed."""
    text = json.dumps(found).replace('{"candidate"', '\n{"candidate"')
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def results(name: str) -> dict[str, Any]:
    """What `keep` wrote."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def there(prefix: str) -> list[str]:
    """The runs of this prefix of which there are results."""
    return [name for name in RUNS if name.startswith(prefix) and (RESULTS / f"{name}.json").exists()]


def used(pool: str) -> dict[str, dict[str, Any]]:
    """The results of the runs of a pool by the name of the table."""
    return {name.removeprefix(f"{pool}-"): results(name) for name in there(pool)}


def each_seed_a_point(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The results as the study counts them: every seed is a candidate of its own."""
    return [{**row, "candidate": f"{row['candidate']}, seed {row['seed']}"} for row in rows]


# Sections of the document.


def study() -> str:
    """Tables 1 and 13, 2 and 17: published and ours side by side."""
    published = json.loads((HERE / "published.json").read_text(encoding="utf-8"))["tables"][PUBLISHED]
    parts = []
    for name in there("study"):
        found = results(name)
        tasks = sorted({task for row in found["results"] for task in row["scores"]})
        points, _ = compare(each_seed_a_point(found["results"]), MEASURES, tasks)
        means, _ = compare(found["results"], MEASURES, tasks)
        count = len({row["candidate"] for row in found["results"]})
        parts.append(
            f"#### {TITLES[name]}, {found['table']['n']:,} words, {count} candidates, {len(found['seeds'])} seeds\n\n"
        )
        for place, (statistic, title) in enumerate(
            {
                "spearman": "Spearman correlation (Tables 1, 13)",
                "selection_error": "Selection error (Table 2)",
                "largest_loss": "Largest loss of accuracy (Table 17)",
            }.items()
        ):
            rows = []
            for task in tasks:
                for key in MEASURES:
                    theirs = published.get(task.removeprefix("cnn_"), {}).get(key, [None] * 3)[place]
                    digits = 3 if statistic == "largest_loss" else 2
                    ours = points[task][key][statistic]
                    off = "–" if theirs is None else number(ours["value"] - theirs, digits)
                    rows.append(
                        [
                            *(task.removeprefix("cnn_"), key, number(theirs, digits), cell(ours, digits), off),
                            cell(means[task][key][statistic], digits),
                        ]
                    )
            headings = ["data", "measure", "published", "ours", "difference", "ours, mean over seeds a point"]
            parts.append(f"**{title}**\n\n{grid(headings, rows)}\n")
    return "".join(parts)


def spread(scores: np.ndarray) -> tuple[float, float]:
    """Standard deviation of (candidates, seeds) between candidates, seeds' noise taken off, and between seeds."""
    seeds = scores.var(axis=1, ddof=1).mean()
    between = scores.mean(axis=1).var(ddof=1) - seeds / scores.shape[1]
    return float(np.sqrt(max(between, 0))), float(np.sqrt(seeds))


def noise() -> str:
    """Why the correlations are not those of the study: how far candidates are apart against how far seeds are."""
    published = json.loads((HERE / "published.json").read_text(encoding="utf-8"))
    spreads = published["spread of the nine quantized candidates and of seeds"]
    rows = []
    for name in there("study"):
        found = results(name)["results"]
        names = list(dict.fromkeys(row["candidate"] for row in found))
        quantized = [not one.startswith("pca") for one in names]
        for task in sorted({task for row in found for task in row["scores"]}):
            data = task.removeprefix("cnn_")
            if data not in spreads:
                continue
            own = [[row for row in found if row["candidate"] == one] for one in names]
            scores = np.array([[row["scores"][task] for row in rows] for rows in own])
            eos = np.array([[row["measures"]["eos"] for row in rows] for rows in own])
            between, seeds = spread(scores[quantized])
            theirs, noise = spreads[data]
            more = np.sqrt(max((between * noise / theirs) ** 2 - seeds**2, 0))
            rng = np.random.default_rng(0)
            drawn = [
                spearman(eos.ravel(), (scores + more * rng.standard_normal(scores.shape)).ravel()) for _ in range(200)
            ]
            rho = published["tables"][PUBLISHED][data]["eos"][0]
            rows.append(
                [
                    *(TITLES[name], data, f"{100 * theirs:.2f}", f"{100 * noise:.2f}", number(rho)),
                    *(f"{100 * between:.2f}", f"{100 * seeds:.2f}"),
                    *(number(float(spearman(eos.ravel(), scores.ravel()))), number(float(np.mean(drawn)))),
                ]
            )
    headings = [f"{each}, {whose}" for whose in ("study", "ours") for each in ("candidates", "seeds", "ρ")]
    return grid(["table", "data", *headings, "ρ, ours with the study's noise"], rows)


def correlation(rows: Sequence[Mapping[str, Any]], key: str, task: str) -> float | None:
    """Of an error with a task's scores, each seed a point; positive where less error is better."""
    points = [(-row["measures"][key], row["scores"][task]) for row in rows if key in row["measures"]]
    return float(spearman(*np.array(points).T)) if points else None


def lambdas() -> str:
    """Table 16."""
    published = json.loads((HERE / "published.json").read_text(encoding="utf-8"))["lambdas"]
    multiples = published["multiples"]
    rows = []
    for task, values in published[PUBLISHED].items():
        for key, each in values.items():
            rows.append([f"published, {task}", key, *(number(value) for value in each)])
    for name in there("study"):
        found = results(name)
        tasks = sorted({task for row in found["results"] for task in row["scores"]})
        for task in tasks:
            for delta in ("delta1", "delta2"):
                keys = [delta if each == "1" else f"{delta}_lambda_{each}" for each in multiples]
                values = [number(correlation(found["results"], key, task)) for key in keys]
                rows.append([f"{TITLES[name]}, {task.removeprefix('cnn_')}", delta, *values])
    return grid(["table, data", "measure", *(f"λ × {each}" for each in multiples[:-1]), "λ max"], rows)


def candidates() -> str:
    """EOS and accuracy of every candidate of the study (Figure 2 as a table)."""
    published = json.loads((HERE / "published.json").read_text(encoding="utf-8"))["candidates"]
    ((title, theirs),) = published.items()
    parts = [f"**Published, {title}**\n\n"]
    parts.append(
        grid(["candidate", "EOS", "accuracy"], [[k, number(e, 3), f"{a:.2f}"] for k, (e, a) in theirs.items()])
    )
    for name in there("study"):
        found = results(name)
        tasks = sorted({task for row in found["results"] for task in row["scores"]})
        rows = []
        for candidate in dict.fromkeys(row["candidate"] for row in found["results"]):
            own = [row for row in found["results"] if row["candidate"] == candidate]
            accuracy = [
                f"{100 * np.mean([row['scores'][task] for row in own]):.2f} "
                f"± {100 * np.std([row['scores'][task] for row in own], ddof=1):.2f}"
                for task in tasks
            ]
            eos = float(np.mean([row["measures"]["eos"] for row in own]))
            rows.append([candidate, f"{own[0]['nbytes'] / 1e6:.2f}", number(eos, 3), *accuracy])
        headings = ["candidate", "MB", "EOS", *(task.removeprefix("cnn_") for task in tasks)]
        parts.append(f"\n**{TITLES[name]}** (mean ± standard deviation over the seeds)\n\n{grid(headings, rows)}")
    return "".join(parts)


def exponents(found: Mapping[str, Any]) -> dict[str, str]:
    """Metric key -> p, from EOS on."""
    keys = {key for row in found["results"] for key in row["measures"] if key.startswith("weighted_eos_p")}
    ordered = sorted(keys, key=lambda key: float(key.removeprefix("weighted_eos_p")))
    return {"eos": "0 (EOS)", **{key: key.removeprefix("weighted_eos_p") for key in ordered}}


def groups() -> dict[str, tuple[str, list[str]]]:
    """Title -> run and tasks: where the exponent is tuned, then where it is reported."""
    kinds = {
        "linear": "sentence classification, linear",
        "cnn": "sentence classification, CNN",
        "wordsim": "word similarity",
        "analogy": "analogies",
        "similarity": "the transformer's own sentence similarity",
        "retrieval": "retrieval by the transformer",
    }
    found: dict[str, tuple[str, list[str]]] = {}
    run_name, tuned = TUNED
    if run_name in there("criterion"):
        found[f"{TITLES[run_name]}, tuned: {', '.join(task.removeprefix('linear_') for task in tuned)}"] = (
            run_name,
            [*tuned],
        )
    for name in [*there("criterion"), *there("study")]:
        tasks = sorted({task for row in results(name)["results"] for task in row["scores"]})
        for kind, title in kinds.items():
            own = [
                task for task in tasks if task.startswith(kind) and (name, task) not in {(run_name, t) for t in tuned}
            ]
            if own:
                pool = "study's candidates, " if name.startswith("study") else ""
                found[f"{TITLES[name]}, {pool}{title} ({len(own)})"] = (name, own)
    return found


def criterion() -> str:
    """Which exponent errs least."""
    compared = {}
    for group, (name, tasks) in groups().items():
        found = results(name)
        compared[group] = compare(found["results"], list(exponents(found)), tasks)[1]
    tuned, *others = compared
    values = exponents(results(TUNED[0]))
    parts = []
    for statistic, title in zip(ERRORS, ("all pairs", "pairs of equal bytes"), strict=True):
        known = [group for group in compared if compared[group]["eos"][statistic]["value"] is not None]
        rows = [
            [
                group,
                *(
                    number(compared[group][key][statistic]["value"], 3) if key in compared[group] else "–"
                    for key in values
                ),
            ]
            for group in known
        ]
        parts.append(
            f"**Selection error, {title}**\n\n{grid(['tasks', *(f'p = {p}' for p in values.values())], rows)}\n"
        )
    for statistic, title in zip(ERRORS, ("all pairs", "pairs of equal bytes"), strict=True):
        chosen = min(values, key=lambda key: compared[tuned][key][statistic]["value"])
        against = {group: compared[group][chosen][statistic]["against_eos"] for group in compared}
        against = {group: difference for group, difference in against.items() if difference["value"] is not None}
        better = sum(against[group]["high"] < 0 for group in others if group in against)
        worse = sum(against[group]["low"] > 0 for group in others if group in against)
        parts.append(
            f"**p = {values[chosen]} errs least on the tuning tasks over {title}: its selection error less that of "
            f"EOS**\n\n{grid(['tasks', 'difference [95% interval]'], [[k, cell(v, 3)] for k, v in against.items()])}\n"
            f"Of the {len(against) - 1} sets that it was not tuned on it errs less on {better}, with an interval below "
            f"0, and more on {worse}, with an interval above 0.\n\n"
        )
    return "".join(parts)


def whole() -> str:
    """Each table's tasks together, but for those on which the exponent was tuned."""
    rows = []
    run_name, tuned = TUNED
    for name in there("criterion"):
        found = results(name)
        tasks = sorted({task for row in found["results"] for task in row["scores"]})
        tasks = [task for task in tasks if name != run_name or task not in tuned]
        keys = exponents(found)
        _, overall = compare(found["results"], list(keys), tasks)
        for key, p in keys.items():
            row = overall[key]
            rows.append([TITLES[name], p, *(cell(row[each], 3) for each in ("spearman", *ERRORS))])
            rows[-1] += [cell(row[each]["against_eos"], 3) if key != "eos" else "" for each in ERRORS]
    headings = [
        "table",
        "p",
        "Spearman",
        "selection error",
        "at equal bytes",
        "less that of EOS",
        "the same at equal bytes",
    ]
    return grid(headings, rows)


def simulations() -> str:
    """Table 3, Figure 4, Figure 5."""
    found = results("theory")
    table = found["table"]
    rows = [[row["measure"], f"{row['closed']:.6g}", f"{row['measured']:.6g}"] for row in found["table_3"]]
    parts = [
        f"**Table 3**: the largest singular value of GloVe {table['d']}-d ({table['n']:,} words) set to 0\n\n"
        f"{grid(['measure', 'closed form', 'measured'], rows)}\n"
    ]
    rows = [
        [name, f"{point['value']:g}", number(point["a"], 4), f"{point['lost']:.3g}", f"{point['bound']:.3g}"]
        for name, points in found["figure_4"].items()
        for point in points
    ]
    parts.append(
        "**Figure 4**: 1 − EOS of unbiased uniform quantization; 10,000 x 10 uniform entries and 2 bits where nothing "
        f"else is said, mean of 5 draws\n\n{grid(['moved', 'value', 'a', '1 − EOS', 'bound of Theorem 3'], rows)}\n"
    )
    headings = ["bits", "rounding", *(f"{clip:g}" for clip in found["figure_5"]["clips"])]
    rows = []
    for row in found["figure_5"]["rows"]:
        least, nearest = np.argmin(row["lost"]), np.argmin(row["error"])
        values = [number(lost, 3) for lost in row["lost"]]
        if np.ptp(row["lost"]) > 1e-6:
            values[least] = f"**{values[least]}**"
        values[nearest] += " ←"
        rows.append([str(row["bits"]), row["rounding"], *values])
    parts.append(
        f"**Figure 5**: 1 − EOS of GloVe {table['d']}-d against the clip threshold in parts of the largest entry; the "
        f"least of a row in bold, ← where the reconstruction error is least\n\n{grid(headings, rows)}"
    )
    return "".join(parts)


SECTIONS: dict[str, Callable[[], str]] = {
    "study": study,
    "noise": noise,
    "lambdas": lambdas,
    "candidates": candidates,
    "criterion": criterion,
    "whole": whole,
    "simulations": simulations,
    "practice": lambda: evidence_uses.practice(used("default"), used("uses")),
    "plain": lambda: evidence_uses.plain(used("plain")),
    "default": lambda: evidence_uses.comparisons(used("default")),
    "choices": lambda: evidence_uses.choices(used("default")),
    "measures": lambda: evidence_uses.measures(used("default"), used("uses")),
    "comparisons": lambda: evidence_uses.comparisons(used("uses")),
}


def written(document: str) -> str:
    """The document with every section written again."""
    for name, section in SECTIONS.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if len(mark.findall(document)) != 1:
            raise ValueError(f"the document must have <!-- {name} --> and <!-- end --> once")
        text = section()
        document = mark.sub(lambda match, text=text: f"{match[1]}\n{text}\n{match[2]}", document)
    return document


def main(command: str, *arguments: str) -> None:
    """Run, or write."""
    if command == "run":
        run(Path(arguments[0]), arguments[1:])
    elif command == "write":
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])
