"""The model card of a hand-over: `README.md` in the form that the Hugging Face Hub reads.

The metadata are those of https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import json
from pathlib import Path

from eigenselect.selector.decision.escaping import in_markdown
from eigenselect.selector.decision.record import FILE, Decision, read_decision
from eigenselect.selector.measures import is_overlap
from eigenselect.selector.pool.budget import size
from eigenselect.selector.store.manifest import read_manifest

CARD = "README.md"

TAGS = ["embeddings", "compression", "onnx", "eigenselect"]

SAYS = {
    "model.onnx": "`ids (batch,) int64 -> vectors (batch, k)`",
    "words.onnx": "`tokens (batch,) string -> vectors (batch, k)`",
    "host.onnx": "the model that the table was taken from, with this form in its place",
    "sentences.onnx": "`ids, offsets -> sentence vectors`, of length 1",
    "payload.safetensors": "the packed arrays, for `eigenselect.load`",
    "selection.json": "the choice, the runner-up, every rejection, what was verified",
    "tokens.txt": "the token of each row",
    "decode_matrix.npy": "`vectors @ matrix` is the table",
    "report.html": "the candidates, and what the choice keeps of the table",
}
"""File of a hand-over -> what a reader of the card should know of it; the others are only listed in the manifest."""

FROM_HUB = """\
```python
import eigenselect

payload = eigenselect.load_from_hub("{repo}")  # pip install 'eigenselect[hub]'
print(payload.read(slice(0, 2)))
```
"""

FROM_ONNX = """\
```python
import onnxruntime as ort

print(ort.InferenceSession("model.onnx").run(None, {{"ids": [0, 1]}})[0])
```
"""


def card(folder: Path, *, license: str | None = None, repo: str = "OWNER/NAME") -> str:
    """The card of the hand-over in `folder`, in Markdown.

    Args:
        folder: what a selection wrote as `out`.
        license: of the table, by the Hub's name for it, `apache-2.0` say; without one the card names none.
        repo: where it is on the Hub.

    Raises:
        ValueError: it is not a hand-over, or its record cannot be read.
    """
    files = read_manifest(folder)["files"]
    decision = read_decision(folder / FILE)
    metadata = {"library_name": "eigenselect", "tags": TAGS} | ({"license": license} if license else {})
    lines = [f"{key}: {json.dumps(value)}" for key, value in metadata.items()]  # JSON is YAML too
    parts = [
        "\n".join(["---", *lines, "---\n"]),
        f"# {in_markdown(_title(decision))}\n",
        _about(decision),
        "## Use\n",
        FROM_ONNX.format(),
        FROM_HUB.format(repo=repo),
        f"## Scores\n\n{_scores(decision)}",
        f"## Verified\n\n{_verified(decision)}",
        f"## Files\n\n{_table(['file', 'bytes', ''], _files(files))}",
        f"## Made by\n\neigenselect {decision.versions['eigenselect']}, seed {decision.seed}: `selection.json` has the "
        "settings of the choice, the versions of all libraries, and why each other candidate was not chosen.\n",
    ]
    return "\n".join(parts)


def _title(decision: Decision) -> str:
    return f"{Path(decision.table.path).name} in {size(decision.chosen.nbytes)}"


def _about(decision: Decision) -> str:
    table, chosen = decision.table, decision.chosen
    float32 = 4 * table.n * table.d
    rows = [
        ["table", f"{Path(table.path).name}, {table.n:,} x {table.d}, {size(float32)} in float32"],
        ["form", chosen.name],
        ["bytes", f"{chosen.nbytes:,} of a budget of {decision.budget_bytes:,}: {float32 / chosen.nbytes:.1f}x"],
        ["chosen by", f"{decision.criterion} {chosen.measures[decision.criterion]:.4f}"],
    ]
    lines = [_table(["", ""], rows), f"{in_markdown(decision.reason)}\n"]
    lines += [f"{in_markdown(remark)}\n" for remark in table.remarks]
    if matrix := chosen.left_to_consumer:
        lines.append(f"The rows are in coordinates of their own: {in_markdown(matrix.use)} (`{matrix.file}`).\n")
    return "\n".join(lines)


def _scores(decision: Decision) -> str:
    measures = decision.chosen.measures
    keys = [key for key in measures if not key.endswith("_stderr")]
    keys.sort(key=lambda key: (key != decision.criterion, not is_overlap(key)))
    return _table(["measure", "value"], [[key, f"{measures[key]:.6g}"] for key in keys])


def _verified(decision: Decision) -> str:
    found = decision.verification
    return (
        f"In ONNX Runtime {decision.versions['onnxruntime']} ({', '.join(found.providers)}) {found.rows:,} rows of "
        f"`model.onnx` differ from the numpy decode by at most {found.max_abs_error:.1e}. EOS of all its rows "
        f"is {found.eos_from_onnx:.4f}; the file takes {found.file_bytes:,} bytes. `eigenselect check` repeats this.\n"
    )


def _files(files: dict[str, dict[str, int]]) -> list[list[str]]:
    return [[f"`{name}`", f"{files[name]['bytes']:,}", says] for name, says in SAYS.items() if name in files]


def _table(headings: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown; what is between backquotes is ours and stands as it is."""
    cells = [[cell if "`" in cell else in_markdown(cell) for cell in row] for row in rows]
    lines = [headings, ["---"] * len(headings), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
