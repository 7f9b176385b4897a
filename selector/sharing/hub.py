"""Hand-overs on the Hugging Face Hub, through its package `huggingface_hub`: `pip install 'eigenselect[hub]'`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eigenselect.compressors import Payload, load
from eigenselect.compressors.whole import MANIFEST
from eigenselect.selector.checking.hand_over import changed_files
from eigenselect.selector.sharing.card import CARD, card
from eigenselect.selector.store.manifest import read_manifest

PAYLOAD = "payload.safetensors"


def push(folder: Path, repo: str, *, private: bool = False, license: str | None = None) -> str:
    """Put a hand-over into a repository of models, which is made if it is not there, as one commit.

    A `README.md` in the folder is its model card; without one it gets that of `card`.

    Args:
        folder: what a selection wrote as `out`.
        repo: `OWNER/NAME`.
        private: of a repository that is made.
        license: of the table, for a card that is made.

    Returns:
        The address of the commit.

    Raises:
        ValueError: it is not a hand-over, or was changed since; the package is not installed; the Hub refuses.
    """
    hub = _package()
    files = read_manifest(folder)["files"]
    if changed := changed_files(folder, files):
        raise ValueError(f"{folder} is not as it was handed over: {changed[0][1]}; select again")
    own = folder / CARD
    text = own.read_bytes() if own.exists() else card(folder, license=license, repo=repo).encode()
    added = {name: str(folder / name) for name in (*files, MANIFEST)} | {CARD: text}
    with _answered(repo):
        api = hub.HfApi(library_name="eigenselect")
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.create_commit(
            repo,
            [hub.CommitOperationAdd(name, content) for name, content in added.items()],
            commit_message="A hand-over of eigenselect",
        )
    return str(commit.commit_url)


def load_from_hub(repo: str, *, revision: str | None = None) -> Payload:
    """The payload of a hand-over on the Hub, which is kept in the Hub's cache.

    Args:
        repo: `OWNER/NAME`.
        revision: a branch, a tag or a commit; the last commit if None.

    Raises:
        ValueError: the package is not installed; there is no such repository or revision, or none that can be reached;
            the payload is not what the manifest beside it lists.
    """
    hub = _package()
    with _answered(repo):
        folder = hub.HfApi(library_name="eigenselect").snapshot_download(
            repo, revision=revision, allow_patterns=[MANIFEST, PAYLOAD]
        )
    if not (Path(folder) / PAYLOAD).exists():
        raise ValueError(f"{repo} has no {PAYLOAD}: it is not a hand-over that eigenselect pushed")
    return load(Path(folder) / PAYLOAD)


def _package() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ValueError(
            "the Hub needs the package huggingface_hub, which is not installed: pip install 'eigenselect[hub]'"
        ) from error
    return huggingface_hub


@contextmanager
def _answered(repo: str) -> Iterator[None]:
    """What the package raises, in one line with the cure."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise ValueError(f"repo = {repo!r} is not a name of the Hub: give OWNER/NAME") from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"{repo} has no such revision: give a branch, a tag or a commit") from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(f"{repo} is not on the Hub, or private: check it, or log in: hf auth login") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        said = " ".join(str(getattr(error, "server_message", None) or error).split())
        raise ValueError(f"the Hub refused {repo} or cannot be reached ({said[:160]}): try again, or log in") from error
