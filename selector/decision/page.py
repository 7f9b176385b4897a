"""The page of a selection, `report.html`, which stands alone."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from pathlib import Path

import plotly.graph_objects as go

from eigenselect.selector.decision.lookup import NANOSECONDS, RATIO
from eigenselect.selector.decision.ranking import megabytes, ratio
from eigenselect.selector.decision.report import by_method, pareto_front, points_of
from eigenselect.selector.decision.selection import Candidate, Selection, why
from eigenselect.selector.measures import is_overlap

PAGE = """<!doctype html><html lang=en><meta charset=utf-8><title>eigenselect: {name}</title>\
<style>body{{font:15px sans-serif;margin:2em auto;max-width:70em}}td,th{{padding:.2em .8em;text-align:left}}\
td.n{{text-align:right;white-space:nowrap}}pre{{background:#f6f6f6;padding:1em;overflow:auto}}</style>\
<h1>{name}</h1><p>{why}</p>{chart}{times}\
<h2>Candidates</h2><table>{candidates}</table>\
<p>After ±: the standard error, between tables of other rows, as many and alike.</p>\
<h2>What other criteria would choose</h2><table>{criteria}</table>\
<h2>Record</h2><pre>{record}</pre></html>"""


def write_page(path: Path, selection: Selection, candidates: Sequence[Candidate], record: str) -> None:
    """A page that stands alone: the decision, the interactive picture, every candidate with its reason.

    Args:
        path: the file.
        selection: the choice.
        candidates: every candidate.
        record: the text of the decision's record.
    """
    criterion = selection.criterion
    page = PAGE.format(
        name=html.escape(selection.chosen.name),
        why=html.escape(why(selection)),
        chart=_chart(selection, candidates).to_html(full_html=False, include_plotlyjs=True),
        times=_times(selection, candidates),
        candidates=_candidates_as_html(selection, {c.name for c in pareto_front(candidates, criterion, lookup=True)}),
        criteria=_criteria_as_html(selection),
        record=html.escape(record),
    )
    path.write_text(page, encoding="utf-8")


def _chart(selection: Selection, candidates: Sequence[Candidate]) -> go.Figure:
    """The picture of `write_picture`, to point at."""
    criterion = selection.criterion
    figure = go.Figure()
    for symbol, (compressor, points) in enumerate(by_method(candidates, criterion)):
        x, y = points_of(points, criterion)
        names = [c.name for c in points]
        marker = {"size": 9, "opacity": 0.7, "symbol": symbol}
        figure.add_scatter(x=x, y=y, text=names, mode="markers", marker=marker, name=compressor)
    x, y = points_of(pareto_front(candidates, criterion), criterion)
    line = {"shape": "hv", "color": "lightgray"}
    figure.add_scatter(x=x, y=y, mode="lines", line=line, name="Pareto front", hoverinfo="skip")
    x, y = points_of([selection.chosen], criterion)
    ring = {"size": 18, "symbol": "circle-open", "color": "black"}
    figure.add_scatter(x=x, y=y, mode="markers", marker=ring, name="chosen", hoverinfo="skip")
    figure.add_vline(x=selection.budget / 1e6, line_dash="dash", annotation_text="budget")
    figure.update_layout(xaxis_title="payload, MB", yaxis_title=criterion, template="plotly_white", height=520)
    return figure


def _times(selection: Selection, candidates: Sequence[Candidate]) -> str:
    """The criterion against the time of a lookup, and the Pareto front of both and bytes; nothing without times."""
    criterion, chosen = selection.criterion, selection.chosen
    if chosen.timed_on is None:
        return ""
    front = pareto_front(candidates, criterion, lookup=True)
    others = [c for c in candidates if criterion in c.measures and RATIO in c.costs and c not in front]
    figure = go.Figure()
    for name, points, symbol in (("Pareto front", front, "circle"), ("others", others, "circle-open")):
        figure.add_scatter(
            x=[c.costs[RATIO] for c in points],
            y=[c.measures[criterion] for c in points],
            text=[f"{c.name}, {megabytes(c)} MB" for c in points],
            mode="markers",
            marker={
                "size": 10,
                "symbol": symbol,
                "color": [c.nbytes / 1e6 for c in points],
                "coloraxis": "coloraxis",
            },
            name=name,
        )
    ring = {"size": 18, "symbol": "circle-open", "color": "black"}
    at = [chosen.costs[RATIO]], [chosen.measures[criterion]]
    figure.add_scatter(x=at[0], y=at[1], mode="markers", marker=ring, name="chosen", hoverinfo="skip")
    if selection.limit is not None and selection.limit.key == RATIO:
        figure.add_vline(x=selection.limit.most, line_dash="dash", annotation_text="limit")
    figure.update_layout(
        xaxis_title="lookup of 8,192 ids on one thread, times a float32 Gather",
        yaxis_title=criterion,
        coloraxis={"colorbar": {"title": "MB"}, "colorscale": "Viridis"},
        legend={"orientation": "h"},
        template="plotly_white",
        height=520,
    )
    says = f"The front is of bytes, {criterion} and lookups together. Times were measured on {chosen.timed_on}."
    chart: str = figure.to_html(full_html=False, include_plotlyjs=False)
    return f"<h2>Time of a lookup</h2>{chart}<p>{html.escape(says)}</p>"


def _candidates_as_html(selection: Selection, front: Collection[str]) -> str:
    """The rows of a table: every candidate with its figures, and why it was chosen or not.

    Args:
        selection: the choice.
        front: names of the candidates of the Pareto front in bytes, criterion and lookups.
    """
    keys = list(dict.fromkeys([selection.criterion, *filter(is_overlap, selection.chosen.measures)]))
    rows = "".join(
        f"<tr><td>{html.escape(c.name)}<td class=n>{c.nbytes:,}"
        + "".join(f"<td class=n>{_with_error(c, key)}" for key in keys)
        + f"<td class=n>{ratio(c)}<td class=n>{_nanoseconds(c)}<td>{'yes' if c.name in front else ''}"
        + f"<td>{html.escape(reason)}"
        for c, reason in [(selection.chosen, "chosen"), *selection.rejected]
    )
    return f"<tr><th>name<th>bytes<th>{'<th>'.join(keys)}<th>lookup<th>ns a row<th>front<th>why{rows}"


def _nanoseconds(candidate: Candidate) -> str:
    return f"{candidate.costs[NANOSECONDS]:,.0f}" if NANOSECONDS in candidate.costs else "-"


def _criteria_as_html(selection: Selection) -> str:
    """The rows of a table: what every other measure would have chosen."""
    rows = "".join(
        f"<tr><td>{a.criterion}<td>{html.escape(a.best.name)}<td class=n>{_with_error(a.best, a.criterion)}"
        f"<td class=n>{_with_error(selection.chosen, a.criterion)}"
        f"<td class=n>{a.rank or '-'} of {a.ranked}{', a tie' if a.tie and a.rank != 1 else ''}"
        for a in selection.alternatives
    )
    return f"<tr><th>criterion<th>best by it<th>of the best<th>of the chosen one<th>place of the chosen one{rows}"


def _with_error(candidate: Candidate, key: str) -> str:
    """A score with its standard error, as far as there are any."""
    if key not in candidate.measures:
        return ""
    error = candidate.standard_errors.get(f"{key}_stderr")
    return f"{candidate.measures[key]:.6g}" + ("" if error is None else f" ± {error:.1g}")
