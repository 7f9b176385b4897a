"""What mkdocs leaves to the project: pages outside of docs/, formulas without a script, pages that no menu names.

A hook of mkdocs.yml. Links in the pages are those of the repository, so that a forge follows them too.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

OUTSIDE = {
    **{f"benchmarks/{path.name}": f"benchmarks/{path.name}" for path in sorted((ROOT / "benchmarks").glob("*.md"))},
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Path in the repository -> path in the site, of the pages outside of docs/."""

NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
"""Each is a page too, `NAME.md`, and can be had as the file that it is."""

LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)

log = logging.getLogger("mkdocs.hooks.site")

_spec = importlib.util.spec_from_file_location("notebook", ROOT / "scripts" / "notebook.py")
assert _spec is not None and _spec.loader is not None
notebook = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(notebook)


def on_files(files: Files, config: Any) -> Files:
    """Take in the pages outside of docs/, and put those that the menu lacks at its end."""
    for source, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    for path in NOTEBOOKS:
        page = notebook.markdown(json.loads(path.read_text(encoding="utf-8")))
        files.append(File.generated(config, f"{path.relative_to(ROOT / 'docs').with_suffix('')}.md", content=page))
    named = set(_paths(config.nav))
    others = [file.src_uri for file in files.documentation_pages() if file.src_uri not in named]
    measured = [uri for uri in others if uri.startswith("benchmarks/")]
    config.nav += [{"Measured": measured}]
    if more := [uri for uri in others if uri not in measured]:
        config.nav += [{"More": more}]
    return files


def _paths(nav: Any) -> Iterable[str]:
    """Every page that a menu names."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _paths(entry)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of the repository as links of the site."""
    outside = {uri: source for source, uri in OUTSIDE.items()}
    source = outside.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def there(match: re.Match[str]) -> str:
        target = os.path.normpath(Path(source).parent / match["path"])
        if not (ROOT / target).exists():
            log.warning("%s links to %s, which is not there", source, target)
        uri = OUTSIDE.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if uri is None:  # a file or folder that is no page: its name is what the site has of it
            return match["text"]
        if uri.endswith(".ipynb") and uri != str(Path(page.file.src_uri).with_suffix(".ipynb")):
            uri = str(Path(uri).with_suffix(".md"))  # the notebook as a page, which has the link to the file
        relative = os.path.relpath(uri, Path(page.file.src_uri).parent)
        text = _title(ROOT / target) if match["text"].endswith(".md") else match["text"]
        return f"[{text}]({relative}{match['anchor'] or ''})"

    return LINK.sub(there, markdown)


def _title(path: Path) -> str:
    """The heading of a page: what the site calls it, where the text has the name of its file."""
    found = re.search(r"^# (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.exists() else None
    return found[1] if found else path.name


def on_page_content(html: str, **_: Any) -> str:
    """Formulas as MathML, which browsers show by themselves."""

    def mathml(match: re.Match[str]) -> str:
        text = match[2].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
        return convert(text, display="block" if match[1] == "div" else "inline")

    return FORMULA.sub(mathml, html)
