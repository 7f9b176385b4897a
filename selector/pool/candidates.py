"""From configuration to compressors.

Every list among the settings is a list of alternatives, a list inside a list is one value: `bits: [1, 2]` stands for
two candidates, `rows: [[0, 1]]` for one with the rows 0 and 1.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from eigenselect.compressors import Compressor, EmbeddingTable
from eigenselect.compressors.methods.exact_rows import exact_nbytes
from eigenselect.compressors.plugins import load_plugins
from eigenselect.selector.pool.build import build
from eigenselect.selector.pool.digest import method_name, table_digest

FIT = "fit"
"""In place of an integer: the largest one with which the method fits the budget."""

RATE = "budget"
"""In place of a compression rate: the one that the budget amounts to."""

FITTING = "auto"
"""In place of an exponent of whitening: the one that fits the criterion."""

MOST = 1 << 40
"""No setting that is a number of something is larger."""


@dataclass(frozen=True)
class Room:
    """What the proposals of a pool are fitted to.

    Attributes:
        n: rows of the table.
        d: columns.
        budget: bytes.
        zeros: rows of zeros that are kept apart, and charged, for a method that does not keep them.
        trained: something is trained on what is looked up, which a decode matrix is left to.
        power: p where an error in a direction of length σ counts σᵖ⁻² (`measures.power`).
    """

    n: int
    d: int
    budget: int
    zeros: int = 0
    trained: bool = False
    power: float = 2

    @property
    def whitening(self) -> float:
        """The exponent of `Spectral` with the least loss: 1 − p/4 (docs/method.md), but no less than none."""
        return max(0.0, 1 - self.power / 4)

    @property
    def useful(self) -> int:
        """The budget, but no more than the table takes in float16: with more, that is the one to take. At least 1."""
        return max(1, min(self.budget - exact_nbytes(self.zeros, self.d), 2 * self.n * self.d))

    def left(self, compressor: Compressor) -> int:
        """The bytes that a method itself may take."""
        keeps = compressor.keeps_zero_rows or not compressor.keeps_dimension
        return self.budget if keeps else self.budget - exact_nbytes(self.zeros, self.d)

    def holds(self, compressor: Compressor) -> bool:
        """Whether the settings can be used on the table and keep to what is useful."""
        try:
            return compressor.nbytes(self.n, self.d) <= min(self.left(compressor), 2 * self.n * self.d)
        except ValueError:
            return False


def expand(
    pool: Mapping[str, Any],
    room: Room | None = None,
    largest: int | None = None,
    report: Callable[[str], None] = lambda reason: None,
    *,
    strict: bool = True,
) -> list[Compressor]:
    """The compressors of a pool: each entry is a `_target_` with arguments, and stands for the product of its lists.

    Args:
        pool: entry name -> configuration of plain dicts, lists and scalars.
        room: what `FIT` and `RATE` are computed from; without one the pool is only checked.
        largest: of each entry, only so many settings, those of the most bytes that fit; None is all.
        report: called with the reason for each of several settings of an entry that cannot be used on the table and
            is left out.
        strict: whether the only setting of an entry must be usable.

    Raises:
        ValueError: an entry that cannot be built, two candidates of one name, or no candidate at all.
    """
    found: dict[str, Compressor] = {}
    same: list[Compressor] = []
    for entry, settings in pool.items():
        made = [_fitted(entry, alternative, room) for alternative in _alternatives(settings)]
        if room is not None:
            made = _distinct(_usable(made, room, report, strict), room.d, found, same)
            made = made if largest is None else _largest(made, room, largest)
        for compressor in made:
            first = found.setdefault(compressor.name, compressor)
            if first is not compressor and not (room is not None and room.trained):  # with and without a matrix
                raise ValueError(f"candidates.pool.{entry} makes {compressor.name} a second time: drop one of the two")
    if not found:
        raise ValueError("the candidates' pool is empty: name at least one compressor, for example candidates=quick")
    return list(found.values())


def _fitted(entry: str, settings: Any, room: Room | None) -> Compressor:
    """The compressor that `settings` stand for, with `FIT`, `RATE` and `FITTING` replaced."""
    if room is None:
        return _build(entry, _replaced(_replaced(_whitened(settings, 0.5), RATE, 1.0), FIT, 1))
    # Rounded up at four digits, for the name.
    rate = max(1.0, math.ceil(4e3 * room.n * room.d / room.useful) / 1e3)
    settings = _replaced(_whitened(settings, room.whitening), RATE, rate)

    def fitted(value: int) -> Compressor:
        made = _build(entry, _replaced(settings, FIT, value))
        return made.without_matrix if room.trained else made

    smallest = fitted(1)
    if _replaced(settings, FIT, 1) == settings:
        return smallest

    def fits(value: int) -> bool:
        return room.holds(fitted(value))

    beyond = 2
    while fits(beyond):
        beyond *= 2
        if beyond > MOST:
            raise ValueError(f"candidates.pool.{entry}: {smallest.name} fits the budget with any {FIT}: give a number")
    value = bisect.bisect_left(range(beyond), True, lo=beyond // 2 + 1, key=lambda value: not fits(value)) - 1
    return fitted(value)


def _replaced(node: Any, marker: str, value: float) -> Any:
    """`node` with `value` in place of each `marker`."""
    if isinstance(node, dict):
        return {key: _replaced(inner, marker, value) for key, inner in node.items()}
    return value if node == marker else node


def _whitened(node: Any, exponent: float) -> Any:
    """`node` with `exponent` for each `whitening` that is `FITTING`."""
    if not isinstance(node, dict):
        return node
    return {
        key: exponent if (key, inner) == ("whitening", FITTING) else _whitened(inner, exponent)
        for key, inner in node.items()
    }


def _usable(made: list[Compressor], room: Room, report: Callable[[str], None], strict: bool) -> list[Compressor]:
    """Those that can be used on the table. The only one of an entry must be, where that is `strict`."""
    found = []
    for compressor in made:
        try:
            compressor.nbytes(room.n, room.d)
        except ValueError as error:
            if strict and len(made) == 1:
                raise
            report(f"{compressor.name}: {error}")
        else:
            found.append(compressor)
    return found


def _distinct(made: list[Compressor], d: int, named: Iterable[str], same: list[Compressor]) -> list[Compressor]:
    """Those that make something of their own of a table of d columns; of several alike the plainest, or the first.

    Args:
        made: the compressors of an entry.
        d: columns.
        named: names of those of the entries before.
        same: the plainest settings of those; gets those of these.
    """
    found: list[Compressor] = []
    for compressor in made:
        plain = compressor.simplest(d)
        repeated = compressor.name in {*named, *(each.name for each in found)}
        if (plain in same and not repeated) or (plain is not compressor and plain in made):
            continue
        found.append(compressor)
        same.append(plain)
    return found


def _largest(made: list[Compressor], room: Room, count: int) -> list[Compressor]:
    """The `count` of the most bytes that fit; where none does the smallest one, which says what would be needed."""
    by_size = sorted(made, key=lambda compressor: (-compressor.nbytes(room.n, room.d), compressor.name))
    fitting = [compressor for compressor in by_size if compressor.nbytes(room.n, room.d) <= room.left(compressor)]
    return fitting[:count] or by_size[-1:]


def _alternatives(node: Any) -> list[Any]:
    """Everything that `node` stands for, with its lists multiplied out."""
    if isinstance(node, Mapping):
        values = itertools.product(*(_alternatives(value) for value in node.values()))
        return [dict(zip(node, combination, strict=True)) for combination in values]
    if isinstance(node, list):
        return [alternative for element in node for alternative in _element(element)]
    return [node]


def _element(node: Any) -> list[Any]:
    """What an element of a list stands for: a list is a value, of which the settings in it may have alternatives."""
    if isinstance(node, list):
        return [tuple(combination) for combination in itertools.product(*map(_element, node))]
    return _alternatives(node)


def _build(entry: str, settings: Any) -> Compressor:
    try:
        made = build(settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"candidates.pool.{entry}: {error}") from error
    if not isinstance(made, Compressor):
        raise ValueError(f"candidates.pool.{entry} makes a {type(made).__name__}: its _target_ must be a Compressor")
    try:
        check_settings(made)
    except ValueError as error:
        raise ValueError(f"candidates.pool.{entry}: {error}") from error
    return made


def check_settings(compressor: Compressor) -> None:
    """Raise a ValueError unless a compressor is a dataclass whose settings a record can hold."""
    name = method_name(type(compressor))
    if not is_dataclass(type(compressor)):
        raise ValueError(
            f"{name} is not a dataclass: make it one, @dataclass(frozen=True), with its settings as fields"
        )
    for field in fields(compressor):  # type: ignore[arg-type]  # checked above
        value = getattr(compressor, field.name)
        if isinstance(value, Compressor):
            check_settings(value)
        elif not isinstance(value, EmbeddingTable):
            try:
                json.dumps(value)
            except (TypeError, ValueError):
                raise ValueError(
                    f"{name} {field.name} is a {type(value).__name__}: it must be a number, a string, null, a list of "
                    "these, a compressor or a table"
                ) from None


def exact_rows(wanted: Any, table: EmbeddingTable) -> tuple[int, ...]:
    """The rows that the setting `exact_rows` names, by id or by token.

    Raises:
        ValueError: not a list, an id or a token that the table does not have.
    """
    if not isinstance(wanted, list | tuple):
        raise ValueError(f'exact_rows = {wanted!r}: must be a list of ids and tokens, for example [0,"[PAD]"]')
    tokens = [each for each in wanted if isinstance(each, str)]
    if tokens and table.tokens is None:
        raise ValueError(
            f"exact_rows names {tokens[0]!r} and the table has no tokens: give them as table.tokens, or ids"
        )
    named = {*tokens}
    row_of = {token: row for row, token in enumerate((named and table.tokens) or ()) if token in named}
    if unknown := [token for token in tokens if token not in row_of]:
        first = ", ".join(map(repr, unknown[:5]))
        raise ValueError(f"exact_rows has {len(unknown)} of {len(tokens)} tokens that the table lacks (first: {first})")
    rows = [row_of[each] if isinstance(each, str) else each for each in wanted]
    for row in rows:
        if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < table.n:
            raise ValueError(f"exact_rows holds {row!r}: must be an id from 0 to {table.n - 1}, or a token in quotes")
    return tuple(sorted(set(rows)))


def parameters(compressor: Compressor) -> dict[str, Any]:
    """A compressor's settings by name, flat: a nested one is its `method_name`, with its settings dotted.

    >>> from eigenselect.compressors import PCA, Uniform
    >>> parameters(PCA(dim=2, then=Uniform(4)))
    {'dim': 2, 'rate': None, 'keep_dimension': False, 'then': 'Uniform', 'then.bits': 4, 'then.rounding': 'nearest'}
    """
    flat: dict[str, Any] = {}
    for field in fields(compressor):  # type: ignore[arg-type]  # every compressor is a dataclass
        value = getattr(compressor, field.name)
        if isinstance(value, Compressor):
            flat[field.name] = method_name(type(value))
            flat |= {f"{field.name}.{name}": inner for name, inner in parameters(value).items()}
        elif isinstance(value, EmbeddingTable):
            flat[field.name] = table_digest(value)  # by content: a result must not outlive a change of the file
        else:
            flat[field.name] = value
    return flat


def rebuilt(compressor: str, settings: Mapping[str, Any]) -> Compressor:
    """The compressor whose `method_name` and `parameters` a record holds; these may come from JSON.

    Anyone may have changed a record, so its names are looked up and never imported: they are of our methods, of those
    that are loaded, and of those that installed packages declare (`compressors.plugins`).

    >>> rebuilt("Uniform", {"bits": 4, "rounding": "nearest"})
    Uniform(bits=4, rounding='nearest')

    Raises:
        ValueError: no method of that name takes these settings, or they hold a table, of which only the digest is kept.
    """
    load_plugins()
    return _rebuilt(compressor, settings, _loaded())


def _loaded() -> dict[str, type[Compressor]]:
    """Every method that is loaded, by its `method_name`; of two that share it the later one."""
    found: dict[str, type[Compressor]] = {}
    waiting = [Compressor]
    while waiting:
        kinds = waiting.pop().__subclasses__()
        found |= {method_name(kind): kind for kind in kinds}
        waiting += kinds
    return found


def _rebuilt(compressor: str, settings: Mapping[str, Any], known: Mapping[str, type[Compressor]]) -> Compressor:
    if compressor not in known:
        raise ValueError(
            f"{compressor} is not a method of this program, nor of an installed package that declares it: "
            "install its package with an entry point of the group eigenselect, or import it first"
        )
    given: dict[str, Any] = {}
    for name, value in settings.items():
        if "." in name:
            continue
        inner = {key.removeprefix(f"{name}."): each for key, each in settings.items() if key.startswith(f"{name}.")}
        nested = inner or (isinstance(value, str) and value in known)  # one without settings is its name alone
        given[name] = _rebuilt(value, inner, known) if nested else value
    try:
        return known[compressor](**given)
    except TypeError as error:
        raise ValueError(f"{compressor} does not take these settings: {error}") from error
