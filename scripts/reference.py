"""Write what documents say of settings and methods from the code: docs/reference/ and the table of docs/methods.md.

python scripts/reference.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import yaml
from hydra.utils import instantiate

import eigenselect
from eigenselect import compressors, conf, export
from eigenselect.__main__ import COMMANDS
from eigenselect.compressors import (
    DCCL,
    PCA,
    TTSVD,
    Bands,
    Blockwise,
    ByteCodebook,
    Compressor,
    EmbeddingTable,
    ExactRows,
    Given,
    Identity,
    KMeans,
    LeverageCode,
    LightToken,
    ProductQuantization,
    ResidualQuantization,
    Spectral,
    TransformCode,
    TrellisCode,
    Uniform,
)
from eigenselect.compressors.payloads.costs import cost_of
from eigenselect.selector.commands.configuration import MAIN_JOB, REQUIRED, Setting, header, settings_of
from eigenselect.selector.run import settings as declared
from eigenselect.selector.run.rules import QUOTED, rule_of

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
PYTHON = ROOT / "docs" / "reference" / "api.md"
METHODS = ROOT / "docs" / "methods.md"

CONF = Path(conf.__file__).parent
MARKS = ("<!-- made by scripts/reference.py -->\n", "<!-- end -->")

N, D = 400_000, 300
"""The table whose bytes are shown."""

SHOWN: list[Compressor] = [
    Identity("float16"),
    Uniform(4),
    KMeans(3),
    KMeans(4),
    Blockwise(4, block=32),
    ByteCodebook(2),
    TrellisCode(2),
    LeverageCode(75),
    TransformCode(75),
    Spectral(then=ByteCodebook(2)),
    Spectral(then=TrellisCode(2)),
    Spectral(norm="uint2", then=TrellisCode(row=75)),
    PCA(rate=2, keep_dimension=True, then=KMeans(4)),
    ProductQuantization(75),
    ResidualQuantization(32),
    DCCL(bits=1),
    TTSVD(8),
    LightToken(25, steps=0, refinements=0),
    Bands(0.1, KMeans(4), KMeans(1)),
    ExactRows((0,), KMeans(2)),
]


def main() -> None:
    """Write the documents."""
    SETTINGS.write_text(settings_page(), encoding="utf-8")
    PYTHON.write_text(python_page(), encoding="utf-8")
    METHODS.write_text(with_table(METHODS.read_text(encoding="utf-8"), glance()), encoding="utf-8")


def settings_page() -> str:
    """docs/reference/settings.md."""
    lines = [
        "# Every setting",
        "",
        "Made by `python scripts/reference.py` from the comments of `conf/` and the checks of the code. A test says"
        " when it is not up to date. [settings.md](../settings.md) explains those of a selection at more length, and"
        " has the files that it leaves; [command.md](../command.md) has the grammar.",
        "",
        "`???` is required, `null` is none.",
    ]
    kinds = {MAIN_JOB: declared.Settings, "validate": declared.EvidenceSettings}
    titles = {MAIN_JOB: "The main job"}
    for command in (MAIN_JOB, *COMMANDS):
        usage, *says = header(command)
        lines += ["", f"## {titles.get(command, command)}", "", "```bash", usage, "```", "", *says, ""]
        must = dict(limits(kinds[command])) if command in kinds else {}
        lines += table(settings_of(command), must)
    lines += ["", "## Pools of candidates", "", "Files of `conf/candidates/`, picked by `candidates=NAME`."]
    lines += ["", "| name | what is tried |", "|---|---|"]
    for path in sorted((CONF / "candidates").glob("*.yaml")):
        lines.append(f"| `{path.stem}` | {cell(comment(path))} |")
    lines += ["", "## Experiments", "", "Files of `conf/experiment/`, for `validate`: `+experiment=NAME`."]
    lines += ["", "| name | what it is |", "|---|---|"]
    for path in sorted((CONF / "experiment").glob("*.yaml")):
        lines.append(f"| `{path.stem}` | {cell(comment(path))} |")
    lines += ["", "## Methods", "", "Files of `conf/compressor/`, and the `_target_` of an entry of a pool.", ""]
    for path in sorted((CONF / "compressor").glob("*.yaml")):
        lines += [f"### {path.stem}", "", *method(path), ""]
    return "\n".join(lines).rstrip() + "\n"


def comment(path: Path) -> str:
    """The comment that a file begins with, without what Hydra and the shell are given there."""
    lines = path.read_text(encoding="utf-8").splitlines()
    length = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    kept = [line.removeprefix("#").strip() for line in lines[:length]]
    return " ".join(line for line in kept if not line.startswith(("@", "eigenselect ", "validate.")))


def cell(text: str) -> str:
    """A text in a cell of a table."""
    return text.replace("|", "\\|")


def table(settings: list[Setting], must: Mapping[str, str]) -> list[str]:
    """The settings of a command."""
    lines = ["| setting | default | | must be |", "|---|---|---|---|"]
    for setting in settings:
        default = "required" if setting.default == REQUIRED else f"`{setting.default}`"
        lines.append(f"| `{setting.key}` | {default} | {cell(setting.says)} | {cell(must.get(setting.key, ''))} |")
    return lines


def limits(kind: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name of each setting that `kind` declares, and what its rule says that it must be."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if isinstance(hint, type) and is_dataclass(hint):
            yield from limits(hint, "" if name == "selection" else f"{prefix}{name}.")
        elif rule := rule_of(hint):
            try:
                rule(name, object())
            except (ValueError, AttributeError, TypeError) as error:
                _, found, must = str(error).partition(": must be ")
                if found:
                    yield f"{prefix}{name}", must.replace(f", {QUOTED}", "")


LINE = re.compile(r"^(?P<key>\w+):(?P<default>[^#]*)(#(?P<says>.*))?$")


def method(path: Path) -> list[str]:
    """The settings of a method."""
    text = path.read_text(encoding="utf-8")
    given = yaml.safe_load(text)
    kind = getattr(compressors, given["_target_"].rpartition(".")[2])
    made = VALID.get(kind) or instantiate(given)
    del given["_target_"]
    summary = (kind.__doc__ or "").split("\n")[0]
    says = {match["key"]: (match["says"] or "").strip() for line in text.splitlines() if (match := LINE.match(line))}
    lines = [f"`{kind.__module__.partition('.methods')[0]}.{kind.__name__}`: {summary}", ""]
    lines += ["| setting | default | | must be |", "|---|---|---|---|"]
    for name, default in given.items():
        lines.append(f"| `{name}` | {shown(default)} | {cell(says[name])} | {cell(bounds(made, name))} |")
    return lines


def shown(default: Any) -> str:
    """A default in a cell."""
    if isinstance(default, dict):
        target = default.get("_target_", "")
        rest = ", ".join(f"{key}: {value}" for key, value in default.items() if key != "_target_")
        return f"`{target.rpartition('.')[2]}`" + (f" {rest}" if rest and ".compressors." in target else "")
    return "required" if default == REQUIRED else f"`{yaml.safe_dump(default).splitlines()[0]}`"


VALID: dict[type[Compressor], Compressor] = {
    PCA: PCA(rate=2),
    DCCL: DCCL(bits=1),
    ExactRows: ExactRows((0,)),
    Given: Given("small", EmbeddingTable(np.ones((1, 1), np.float32), ["a"])),
}
"""Methods whose files lack what a user must give."""

IN_PLACE = {"dim": "rate", "books": "bits", "row": "bits"}
"""Settings that are given in place of others."""


def bounds(made: Compressor, name: str) -> str:
    """What a setting of a method must be, in the words of the error that a wrong one gets."""
    other = IN_PLACE.get(name)
    instead = {other: None} if getattr(made, other or "", None) is not None else {}
    try:
        replace(made, **{name: object(), **instead})
    except ValueError as error:
        return str(error).partition(": must be ")[2].partition(";")[0]
    raise RuntimeError(f"{type(made).__name__} takes anything as {name}")


PARTS = {
    "selector": "Tables in, choices out",
    "compressors.methods": "Methods",
    "compressors": "Tables and payloads",
    "export.torch": "Torch",
    "export": "ONNX",
}
"""Start of the modules -> heading of what they offer."""


def python_page() -> str:
    """docs/reference/api.md."""
    lines = [
        "# Python",
        "",
        "What `import eigenselect` offers, by its docstrings. The built site shows them; here each name stands with the"
        " module that has it. Made by `python scripts/reference.py`.",
    ]
    homes = {}
    for room in (eigenselect, compressors, export):
        for name in room.__all__:
            found = getattr(room, name)
            if hasattr(found, "__qualname__"):
                homes[name] = f"{found.__module__}.{name}"
    parts: dict[str, list[str]] = {title: [] for title in PARTS.values()}
    for home in homes.values():
        parts[next(title for start, title in PARTS.items() if home.startswith(f"eigenselect.{start}"))].append(home)
    for title, found_there in parts.items():
        lines += ["", f"## {title}", *(line for home in found_there for line in ("", f"::: {home}"))]
    return "\n".join(lines) + "\n"


def glance() -> str:
    """The table of docs/methods.md."""
    rng = np.random.default_rng(0)
    table = EmbeddingTable(rng.standard_normal((1000, D)).astype(np.float32))
    lines = [
        "| candidate | bytes | bits an entry | smaller | read a row | multiply-adds a row |",
        "|---|---|---|---|---|---|",
    ]
    for method in SHOWN:
        nbytes, cost = method.nbytes(N, D), cost_of(method.compress(table, np.random.default_rng(0)))
        name = method.name.replace("-steps0-refinements0", "")
        lines.append(
            f"| `{name}` | {nbytes:,} | {8 * nbytes / N / D:.2f} | {4 * N * D / nbytes:.1f}x "
            f"| {cost.bytes:,} bytes | {cost.multiply_adds:,} |"
        )
    return "\n".join(lines) + "\n"


def with_table(text: str, table: str) -> str:
    """A document with the table between its marks."""
    start, end = (text.index(mark) for mark in MARKS)
    return text[: start + len(MARKS[0])] + table + text[end:]


if __name__ == "__main__":
    main()
