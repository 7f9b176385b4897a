"""Each Python and the oldest versions that pyproject.toml allows: install, the quick tests, one selection.

    python scripts/matrix.py [3.11] [3.12] [3.13] [oldest]

makes an environment for each row in `.matrix`, keeps it for the next time, and prints a line for each. Rows whose
Python is not on the machine are skipped, and say so. Exit code 1 where a row failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PYTHONS = ("3.11", "3.12", "3.13")

ROWS = {**{python: python for python in PYTHONS}, "oldest": PYTHONS[0]}
"""Row -> its Python. `oldest` takes the lower bound of each dependency, the others the versions of constraints.txt."""

SELECTION = """
import sys
import numpy as np
from eigenselect.__main__ import main

rng = np.random.default_rng(0)
np.save("table.npy", (rng.standard_normal((2000, 32)) * np.geomspace(3, 0.3, 32)).astype(np.float32))
sys.argv = ["eigenselect", "table.path=table.npy", "budget=12.5%", "out=out", "candidates=quick"]
main()
"""


def oldest(dependencies: list[str]) -> str:
    """Constraints that hold each dependency at its lower bound."""
    return "".join(re.sub(r"^([\w-]+)>=([\d.]+).*", r"\1==\2", dependency) + "\n" for dependency in dependencies)


def try_row(row: str, folder: Path) -> str:
    """Install and try one row in `folder`; what came of it."""
    # pyenv asks which version a command of several is; elsewhere the variable says nothing.
    env = os.environ | {"PYENV_VERSION": ROWS[row], "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    python = f"python{ROWS[row]}"
    if not shutil.which(python) or subprocess.run([python, "--version"], env=env, check=False).returncode:
        return f"skipped: {python} is not here"
    make = ["make", f"VENV={folder.relative_to(ROOT)}", f"PYTHON={python}"]
    if row == "oldest":
        folder.mkdir(parents=True, exist_ok=True)
        declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
        (folder / "constraints.txt").write_text(oldest(declared), encoding="utf-8")
        make += [f"CONSTRAINTS={folder / 'constraints.txt'}"]
    if subprocess.run([*make, "quick"], cwd=ROOT, env=env, check=False).returncode:
        return "failed: install or quick tests"
    with tempfile.TemporaryDirectory() as work:
        if subprocess.run([folder / "bin" / "python", "-c", SELECTION], cwd=work, env=env, check=False).returncode:
            return "failed: selection"
    return "passed: install, quick tests, selection"


def main() -> None:
    """Try the rows that are named, or all."""
    found = {row: try_row(row, ROOT / ".matrix" / row) for row in sys.argv[1:] or ROWS}
    print(*(f"{row:8}{came}" for row, came in found.items()), sep="\n")
    sys.exit(any(came.startswith("failed") for came in found.values()))


if __name__ == "__main__":
    main()
