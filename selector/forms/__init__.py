"""Forms of models whose table is compressed, and which are handed over in the form that they came in.

A form is a file here with one `Form`, its name in `FORMS`, and what it writes in `selector.store.output.FILES`.
"""

from __future__ import annotations

from pathlib import Path

from eigenselect.selector.forms.form import Form
from eigenselect.selector.forms.static import Static

__all__ = ["FORMS", "Form", "form_of"]

FORMS: dict[str, type[Form]] = {form.name: form for form in (Static,)}
"""By name."""


def form_of(path: Path) -> Form | None:
    """The form of the model at `path`, if it is one of these.

    Raises:
        ValueError: it is, and cannot be followed.
    """
    return next((found for form in FORMS.values() if (found := form.of(path)) is not None), None)
