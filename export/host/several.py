"""Several payloads put into one model, each in place of a table of its own.

One after the other, the largest first. Of each step it is proven that the model gives what the one before it gives with
the decoded float table put in (`export.host.proof`). So the last one is the host with all decoded float tables put in,
up to what the steps differ by, and its outputs are compared with the host's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.whole import held, hidden_name
from eigenselect.export.choices import Target, Tied
from eigenselect.export.host.host import Host
from eigenselect.export.host.rewrite import HostReport, publish, rewrite_host
from eigenselect.export.models.sessions import OutputDifference, differences


@dataclass(frozen=True)
class TablesReport:
    """What `rewrite_tables` did and measured; sizes in bytes.

    Attributes:
        host: the model that was rewritten.
        tables: those in it that are payloads now: name, shape and stored type.
        host_bytes: size of the host, with its data files.
        file_bytes: size of the rewritten model, with its data file.
        payload_bytes: of all payloads.
        inputs: what the two were run on: a file, or "made".
        outputs: how far each output is from the host's.
        relative_error: of all steps together, the largest difference of an output from that with float tables.
        session_bytes: resident memory that the rewritten model holds when it is loaded.
        host_session_bytes: the same of the host.
    """

    host: str
    tables: list[str]
    host_bytes: int
    file_bytes: int
    payload_bytes: int
    inputs: str
    outputs: list[OutputDifference]
    relative_error: float
    session_bytes: int
    host_session_bytes: int

    def __str__(self) -> str:
        inputs = "made inputs" if self.inputs == "made" else self.inputs
        return "\n".join(
            [
                f"{len(self.tables)} tables of {self.host} are now payloads",
                f"size: {self.host_bytes:,} bytes before, {self.file_bytes:,} after, of which "
                f"{self.payload_bytes:,} are payloads",
                f"memory when loaded: {self.host_session_bytes / 1e6:.0f} MB before, "
                f"{self.session_bytes / 1e6:.0f} MB after",
                *(
                    f"output {output.name}: cosine {output.cosine:.6f} to the host's, largest difference "
                    f"{output.max_abs_difference:.3g}, on {inputs}"
                    for output in self.outputs
                ),
                "verified: the outputs are those of the host with the decoded float tables put in, to "
                f"{self.relative_error:.1e}",
            ]
        )


def rewrite_tables(
    host: Path,
    payloads: Sequence[tuple[Payload, float | None]],
    out: Path,
    *,
    tied: Tied = "refuse",
    target: Target = "portable",
    inputs: Path | None = None,
) -> TablesReport:
    """Write to `out` the model `host` with each payload in place of the table that it was made of, verified.

    Args:
        host: an ONNX model; only read.
        payloads: at least one, each with the recorded relative reconstruction error where it is known.
        out: where to; a host with external data gets its data file beside it.
        tied: as for `rewrite_host`.
        target: as for `rewrite_host`.
        inputs: as for `rewrite_host`.

    Raises:
        ValueError: any of it cannot be used; `out` is then as it was.
        VerificationError: a rewritten model is not what it should be; `out` is then as it was.
    """
    opened = Host.open(host)
    before = opened.run(feeds := opened.feeds(inputs), inputs)
    reports: list[HostReport] = []
    with held(out.parent / hidden_name(out), out) as folder:
        at = host
        for number, (payload, recorded) in enumerate(sorted(payloads, key=lambda each: -each[0].n * each[0].k)):
            step = folder / str(number) / out.name
            step.parent.mkdir()
            report = rewrite_host(
                at, payload, step, tied=tied, target=target, inputs=inputs, recorded_error=recorded, first=host
            )
            reports.append(report)
            if at != host:
                shutil.rmtree(at.parent)
            at = step
        after = Host.open(at).run(feeds, inputs)
        publish(at, out)
    return TablesReport(
        host=str(host),
        tables=[report.table for report in reports],
        host_bytes=reports[0].host_bytes,
        file_bytes=reports[-1].file_bytes,
        payload_bytes=sum(report.payload_bytes for report in reports),
        inputs=reports[0].inputs,
        outputs=differences(after, before),
        relative_error=sum(report.proof.relative_error for report in reports),
        session_bytes=reports[-1].proof.session_bytes,
        host_session_bytes=reports[0].proof.host_session_bytes,
    )
