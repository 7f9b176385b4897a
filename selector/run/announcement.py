"""What the terminal says of a selection: what is asked, the ranking, the choice, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from eigenselect.selector.decision.advice import advice
from eigenselect.selector.decision.ranking import grid, heading, megabytes_of, number, ranking, rest
from eigenselect.selector.decision.record import Decision
from eigenselect.selector.decision.tables import TablesDecision
from eigenselect.selector.pool.budget import CONSTANTS_BYTES, duration, size
from eigenselect.selector.run.job import Assignment, Job
from eigenselect.selector.run.plan import Plan, TablesPlan
from eigenselect.selector.run.selecting import Chosen
from eigenselect.selector.run.tables.job import TablesAssignment, TablesJob

if TYPE_CHECKING:  # it imports mlflow
    from eigenselect.selector.store.runs import ParentRun

LEFT_OUT_SHOWN = 5
"""Settings that were left out of which the reason is printed."""


def introduce(job: Assignment, name: str, console: Console) -> None:
    """Print what is asked, and which settings cannot be used for it."""
    n, d = job.table.n, job.table.d
    budget, whole, stored = job.settings.budget, 4 * n * d, job.table.stored_nbytes
    beside = "" if job.table.stored == "float32" else f", {stored / job.budget:.1f}x of {job.table.stored} as stored"
    console.print(
        f"{name}: {n:,} x {d}, {size(whole)} in float32; budget {job.budget:,} bytes, {whole / job.budget:.1f}x{beside}"
    )
    if budget.unit == "x" and CONSTANTS_BYTES * 10 > job.budget:
        console.print(
            f"Of the budget {CONSTANTS_BYTES:,} bytes are for constants, which a rate of {budget.text} adds: much for "
            f"a table this small. budget={whole // budget.number} is {budget.text} with all that is stored."
        )
    if job.left_out:
        console.print(f"{len(job.left_out)} settings cannot be used here and are left out:")
        for reason in job.left_out[:LEFT_OUT_SHOWN]:
            console.print(f"  {reason}")
        if (more := len(job.left_out) - LEFT_OUT_SHOWN) > 0:
            console.print(f"  ... and {more} more")


def outlook(plan: Plan, console: Console) -> None:
    """Print what a selection would compute, and what that would take."""
    rows = grid(["candidate"], ["bytes", "rate", "memory", "time"])
    for each in plan.candidates:
        rate, took = 4 * plan.n * plan.d / each.nbytes, "-" if each.seconds is None else duration(each.seconds)
        rows.add_row(each.name, f"{each.nbytes:,}", f"{rate:.1f}x", size(each.memory_bytes), took)
    console.print()
    console.print(rows)
    unknown = [each.name for each in plan.candidates if each.seconds is None]
    smaller, larger = plan.sample_rows
    console.print(
        f"{len(plan.candidates)} candidates would be computed; {len(plan.over_budget)} are over the budget and would "
        f"not. Memory: at least {size(plan.memory_bytes)} above the table, {size(plan.available_bytes)} are free."
    )
    console.print(
        f"Time: about {duration(plan.seconds)}, an estimate for this machine ({plan.processor}, {plan.threads} "
        f"threads) from samples of {smaller:,} and {larger:,} rows. Reading, tracking, export and verification come on "
        "top; candidates that earlier runs have measured are reused."
    )
    if plan.screened:
        samples = " and ".join(f"{each:,}" for each in plan.screened_rows)
        console.print(
            f"{len(plan.screened)} of them are looked at on {samples} rows first. What cannot win is not measured on "
            "all, and takes none of that time (screening=false measures all)."
        )
    if unknown:
        console.print(f"The time of {', '.join(unknown)} is not in it: the samples could not be compressed so.")


def introduce_tables(given: TablesAssignment, console: Console) -> None:
    """Print what is asked for many tables."""
    count, whole = sum(len(part.fitting) for part in given.parts), given.float32_bytes
    console.print(
        f"{len(given.parts)} tables, {size(whole)} in float32; budget {given.budget:,} bytes, "
        f"{whole / given.budget:.1f}x; {count} candidates"
    )
    for reason in given.left_out:
        console.print(reason)


def outlook_of_tables(plan: TablesPlan, console: Console) -> None:
    """Print what a selection for many tables would compute, and what that would take."""
    rows = grid(["table"], ["rows", "columns", "candidates", "from", "to MB", "time"])
    for each in plan.tables:
        sizes = [megabytes_of(each.smallest_bytes), megabytes_of(each.largest_bytes)]
        rows.add_row(each.name, f"{each.n:,}", f"{each.d:,}", str(each.candidates), *sizes, duration(each.seconds))
    console.print()
    console.print(rows)
    smaller, larger = plan.sample_rows
    console.print(
        f"{sum(each.candidates for each in plan.tables)} candidates would be computed. Memory: at least "
        f"{size(plan.memory_bytes)} above the tables, {size(plan.available_bytes)} are free."
    )
    console.print(
        f"Time: about {duration(plan.seconds)}, an estimate for this machine ({plan.processor}, {plan.threads} "
        f"threads) from samples of {smaller:,} and {larger:,} rows of {plan.timed}, by the values of each table. "
        "Reading, tracking, export and verification come on top; candidates that earlier runs have measured are reused."
    )


def announce_tables(decision: TablesDecision, job: TablesJob, parent: ParentRun, console: Console) -> None:
    """Print what each table got, the split, what was verified, and where it is."""
    weighed = any(each.weight != 1 for each in decision.tables)
    rows = grid(
        ["table", "chosen"], ["rows", "MB", "rate", heading(decision.criterion), *(["weight"] if weighed else [])]
    )
    for each in decision.tables:
        rate = f"{each.float32_bytes / each.nbytes:.1f}x"
        shown = [f"{each.n:,}", megabytes_of(each.nbytes), rate, number(each.score)]
        rows.add_row(each.name, each.chosen, *shown, *([f"{each.weight:g}"] if weighed else []))
    console.print()
    console.print(rows)
    console.print(f"\n{decision.reason}")
    if decision.host is not None:
        console.print(f"host.onnx: {decision.host}")
    console.print(f"\nFiles: {job.settings.out}", soft_wrap=True)
    for line in parent.view(job.title, role="table").lines():
        console.print(line, soft_wrap=True)


def announce(decision: Decision, job: Job, parent: ParentRun, found: Chosen, console: Console) -> None:
    """Print the ranking, the choice, what was verified of it, and what to do next."""
    selection = found.selection
    if job.rank < job.table.d:
        console.print(f"The table's rank is {job.rank} of {job.table.d} columns.")
    console.print()
    console.print(ranking(selection, 4 * job.table.n * job.table.d, console.width))
    over = sum(candidate.status == "over_budget" for candidate in found.candidates)
    if (more := rest(selection)) is not None:
        console.print(f"{more}: candidates.csv has all")
    console.print(f"{over} of {len(found.trials)} candidates are over the budget and were not computed.")
    if (left_out := decision.screening) is not None:
        rows = " and ".join(f"{each:,}" for each in left_out.rows)
        console.print(
            f"Screened {left_out.candidates} of {len(found.trials) - over} candidates on {rows} rows: "
            f"{len(found.trials) - over - left_out.candidates} measured on all."
        )
    console.print(f"\n{decision.reason}")
    for sentence in _sentences(decision, job.export.target):
        console.print(sentence)
    if decision.host is not None:
        console.print(f"host.onnx: {decision.host}")
    if decision.model is not None:
        console.print(decision.model.says)
    if next_steps := advice(selection, fitted=job.settings.candidates.largest is not None):
        console.print("\nNext:")
        for step in next_steps:
            console.print(f"- {step}")
    console.print(f"\nFiles: {job.out}", soft_wrap=True)
    for line in parent.view(job.title).lines():
        console.print(line, soft_wrap=True)


def _sentences(decision: Decision, target: str) -> list[str]:
    """What whoever takes the model must know of it."""
    found, matrix, sentences = decision.verification, decision.chosen.left_to_consumer, []
    if decision.use == "trained":
        sentences.append(
            "use=trained: what is trained on top learns what a decode matrix would do, so no candidate has one, nor "
            "its bytes and its product; EOS is the same."
        )
    if matrix is not None:
        sentences.append(
            f"It decodes to coordinates of its own: {matrix.file}, {' x '.join(map(str, matrix.shape))} and not "
            "charged to its bytes, is for the layer that takes the vectors."
        )
    if (zeros := decision.table.zero_rows) is not None:
        sentences.append(zeros.says)
    sentences += [*([decision.table.stored.says] if decision.table.stored else ()), *decision.table.remarks]
    if target == "cuda" and "CUDAExecutionProvider" not in found.providers:
        sentences.append(
            "The model is made for CUDA and was verified on the CPU alone: there is no CUDA provider here."
        )
    if (lookup := decision.lookup) is not None:
        sentences.append(f"lookup is the time of 8,192 ids on one thread beside a float32 Gather. {lookup.says}")
    kind, beyond = ("float16 ", " beyond their rounding") if found.output == "float16" else ("", "")
    sentences.append(
        f"Verified in ONNX Runtime: {found.rows:,} {kind}rows differ from numpy by at most {found.max_abs_error:.1e}"
        f"{beyond}, EOS of the whole exported table {found.eos_from_onnx:.4f}, file {found.file_bytes:,} bytes, "
        f"session {found.session_bytes / 1e6:.0f} MB."
    )
    return sentences
