"""Run docs/tutorials/notebook.ipynb and keep what its cells give, as Jupyter would; `markdown` makes it a page.

    python scripts/notebook.py

runs it in a folder of its own and writes its outputs into the file.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

PATH = Path(__file__).resolve().parents[1] / "docs" / "tutorials" / "notebook.ipynb"


def main() -> None:
    """Run the notebook and write what it gives."""
    notebook = json.loads(PATH.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        found = outputs(notebook)
    for cell, made in zip(code(notebook), found, strict=True):
        cell["outputs"] = made
    PATH.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that are run."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """What each cell of code gives: what it prints, its last expression, its figures; files lie where one works."""
    names: dict[str, Any] = {"__name__": "__main__"}
    return [_run("".join(cell["source"]), names, count) for count, cell in enumerate(code(notebook), 1)]


def _run(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    body, last = ast.parse(source).body, None
    if body and isinstance(body[-1], ast.Expr):
        last = ast.Expression(body.pop().value)  # type: ignore[attr-defined]
    printed, value = io.StringIO(), None
    with redirect_stdout(printed):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if last is not None:
            value = eval(compile(last, "cell", "eval"), names)
    found: list[dict[str, Any]] = []
    if printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = _lines(value._repr_html_())
        found.append({"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data})
    return found + [{"output_type": "display_data", "metadata": {}, "data": data} for data in _figures()]


def _figures() -> Iterator[dict[str, Any]]:
    """The figures that are open, as Jupyter shows them at the end of a cell."""
    for number in plt.get_fignums():
        figure, picture = plt.figure(number), io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": None})
        yield {"text/plain": [repr(figure)], "image/png": base64.b64encode(picture.getvalue()).decode()}
        plt.close(figure)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def markdown(notebook: dict[str, Any]) -> str:
    """The notebook as a page: its text, its code, and the richest form of what each cell gives."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for each in cell["outputs"]:
            data = each.get("data", {"text/plain": each.get("text", [])})
            if "image/png" in data:
                parts.append(f"![](data:image/png;base64,{data['image/png']})")
            elif "text/html" in data:
                parts.append("".join(data["text/html"]).strip())
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
