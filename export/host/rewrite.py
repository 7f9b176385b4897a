"""A payload put into an existing model, in place of its embedding table.

The table is found by shape and values. Its lookups become the payload's decode; what then has no use is removed, and
all else stays as it is. The result is verified before it takes its place; the host is only read.
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx
from onnx import helper, numpy_helper

from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.whole import held, hidden_name, settle, undisturbed
from eigenselect.compressors.words import listed
from eigenselect.export.choices import TARGETS, TIED, Target, Tied
from eigenselect.export.host import match
from eigenselect.export.host.copies import copies_left
from eigenselect.export.host.host import Host
from eigenselect.export.host.products import products, without_matrix
from eigenselect.export.host.proof import Proof, prove
from eigenselect.export.host.pruned import Kept, Remapping, kept_feeds, renumbered
from eigenselect.export.host.splice import Folded, Splice, add, fold, free_prefix, opset_of, replace_lookups
from eigenselect.export.models.constants.tracer import Tracer
from eigenselect.export.models.external import data_files, rename_data, write
from eigenselect.export.models.ids import graph_input
from eigenselect.export.models.scopes import tensors
from eigenselect.export.models.sessions import Feeds, OutputDifference, differences
from eigenselect.export.models.stored import nbytes
from eigenselect.export.models.tables import HostTable
from eigenselect.export.operators.data_file import PAGE_BYTES, data_file
from eigenselect.export.operators.decode import decode_graph
from eigenselect.export.operators.model import check_runtime
from eigenselect.export.operators.passes import half_rows


@dataclass(frozen=True)
class HostReport:
    """What `rewrite_host` did and measured; sizes in bytes.

    Attributes:
        host: the model that was rewritten.
        table: the table in it: name, shape and stored type.
        lookups: places where it was looked up.
        kept_for: what else uses the table, for which it stays in the file.
        opset: of the model.
        host_bytes: size of the host, with its data files.
        file_bytes: size of the rewritten model, with its data file.
        removed_bytes: stored tensors of the host that are gone.
        payload_bytes: `nbytes` of what was put in: the payload, or what is left of it without its matrix.
        reconstruction_error: relative one of the payload on the host's table.
        inputs: what the two were run on: a file, or "made".
        outputs: how far each output is from the host's.
        proof: what was verified against the host with the decoded float table put in.
        copies: tensors of the host that hold the table once more, for another use, and stay.
        kept_rows: rows of the host's table that the payload has, if not all.
        id_map_bytes: size of the map of its ids to these; None where it takes new ones.
        folded: the host's constants that the payload's matrix was multiplied into.
    """

    host: str
    table: str
    lookups: int
    kept_for: list[str]
    opset: int
    host_bytes: int
    file_bytes: int
    removed_bytes: int
    payload_bytes: int
    reconstruction_error: float
    inputs: str
    outputs: list[OutputDifference]
    proof: Proof
    copies: list[str] = field(default_factory=list)
    kept_rows: int | None = None
    id_map_bytes: int | None = None
    folded: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.table} of {self.host} is now the payload, which is looked up {_times(self.lookups)}",
            f"size: {self.host_bytes:,} bytes before, {self.file_bytes:,} after "
            f"({self.removed_bytes:,} of the table out, {self.payload_bytes:,} of the payload in)",
            f"memory when loaded: {self.proof.host_session_bytes / 1e6:.0f} MB before, "
            f"{self.proof.session_bytes / 1e6:.0f} MB after",
            f"error of the table: {self.reconstruction_error:.4f} of its norm",
            *(
                f"output {output.name}: cosine {output.cosine:.6f} to the host's, largest difference "
                f"{output.max_abs_difference:.3g}, on {'made inputs' if self.inputs == 'made' else self.inputs}"
                for output in self.outputs
            ),
            "verified: the outputs are those of the host with the decoded float table put in, to "
            f"{self.proof.relative_error:.1e}",
        ]
        if self.folded:
            lines.insert(1, f"the payload's matrix is multiplied into {listed(self.folded, 60)}, which rows meet next")
        if self.kept_for:
            lines.insert(1, f"the table stays in the file for {', '.join(self.kept_for)}")
        if self.copies:
            lines.insert(1, f"copies of the table stay in the file for other uses: {', '.join(self.copies)}")
        if self.kept_rows is not None:
            ids = (
                "new ids" if self.id_map_bytes is None else f"the ids it took, by a map of {self.id_map_bytes:,} bytes"
            )
            lines.insert(1, f"{self.kept_rows:,} rows of the table are kept, and the model takes {ids}")
        return "\n".join(lines)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def rewrite_host(
    host: Path,
    payload: Payload,
    out: Path,
    *,
    tied: Tied = "refuse",
    target: Target = "portable",
    inputs: Path | None = None,
    recorded_error: float | None = None,
    kept: Kept | None = None,
    first: Path | None = None,
) -> HostReport:
    """Write to `out` the model `host` with `payload` in place of its embedding table, verified.

    Args:
        host: an ONNX model; only read.
        payload: a table of the host's own dimension.
        out: where to; a host with external data gets its data file beside it.
        tied: what to do if the table is used otherwise too: refuse, or keep it for that use.
        target: what the payload's operators are chosen for; see `export.operators.graph.Target`.
        inputs: a `.npz` file of inputs to compare the two models on; None makes some.
        recorded_error: relative reconstruction error of the payload on the table that it was made of: the host's
            table must agree with it.
        kept: which rows of the host's table the payload has, and what becomes of the ids; None for all rows.
        first: the model that `host` was made of by other payloads, whose memory may be taken; None for `host` itself.

    Raises:
        ValueError: any of it cannot be used, or another process writes `out`, which is then as it was.
        VerificationError: the rewritten model is not what it should be; `out` is then as it was.
    """
    if tied not in TIED:
        raise ValueError(f"tied = {tied!r}: must be {' or '.join(TIED)}")
    if target not in TARGETS:
        raise ValueError(f"target = {target!r}: must be one of {', '.join(TARGETS)}")
    if not payload.aligned:
        raise ValueError("the payload decodes to coordinates of its own, which no model expects: choose another")
    opened = Host.open(host)
    _check_out(opened, out)
    if kept is not None and len(kept.rows) != payload.n:
        raise ValueError(
            f"{len(kept.rows)} rows are kept and the payload has {payload.n}: give the map that it came with"
        )
    table = opened.table_of(payload.n, payload.k, payload.read, tied, kept)
    error = match.reconstruction_error(table, payload, None if kept is None else kept.rows)
    if recorded_error is not None:
        match.check_error(host, table, error, recorded_error)
    feeds, new_feeds = _feeds(opened, table, inputs, kept)
    before, copies = opened.run(feeds, inputs), copies_left(opened.found, table, host.parent)
    check_runtime(opset_of(opened.model), target)
    host_bytes, stored = opened.nbytes, sum(map(nbytes, tensors(opened.model)))
    with held(out.parent / hidden_name(out), out) as folder:
        written = folder / out.name
        remapping = (
            Remapping(kept, table.n, free_prefix(opened.found.names()), table.type) if kept and kept.remap else None
        )
        put, splice, added = _put(opened, table, payload, target, remapping)
        folded = sum(each.values.nbytes for each in splice.folded)
        removed = stored - folded - sum(nbytes(t) for t in tensors(opened.model) if t.name not in added)
        external = len(opened.files) - 1
        write(opened.model, host.parent, written, added)
        allowed = host_bytes - removed + PAGE_BYTES * external
        proof, after = prove(payload, put, target, written, splice, new_feeds, first or host, allowed, remapping)
        publish(written, out)
    return HostReport(
        host=str(host),
        table=table.description,
        lookups=len(table.places),
        kept_for=table.others,
        opset=opset_of(opened.model),
        host_bytes=host_bytes,
        file_bytes=proof.file_bytes,
        removed_bytes=removed,
        payload_bytes=put.nbytes,
        reconstruction_error=error,
        inputs="made" if inputs is None else str(inputs),
        outputs=differences(after, before),
        proof=proof,
        copies=copies,
        kept_rows=None if kept is None else len(kept.rows),
        id_map_bytes=None if remapping is None else remapping.kept.map(table.n).nbytes,
        folded=[each.of for each in splice.folded],
    )


def _feeds(host: Host, table: HostTable, inputs: Path | None, kept: Kept | None) -> tuple[Feeds, Feeds]:
    """Inputs to compare the host and the rewritten model on: the same, but for the ids where these are new."""
    feeds = host.feeds(inputs)
    if kept is None:
        return feeds, feeds
    names = {name for place in table.places if (name := graph_input(place.scope, place.ids)) is not None}
    feeds = kept_feeds(feeds, names, table.n, kept, made=inputs is None)
    return feeds, feeds if kept.remap else renumbered(feeds, names, table.n, kept)


def _check_out(host: Host, out: Path) -> None:
    if not out.parent.is_dir():
        raise ValueError(f"out = {out}: there is no folder {out.parent}: make it first")
    if out.is_dir():
        raise ValueError(f"out = {out} is a folder: name a file")
    files = [file.resolve() for file in host.files]
    for written in (out, data_file(out), _second(out)):
        if written.resolve() in files:
            raise ValueError(f"out = {out} would overwrite {written} of the host: give another name")


def _second(out: Path) -> Path:
    """A data file of the model at `out` while that of the earlier model is still in use."""
    return data_file(out.with_name(f"{out.name}.2"))


def publish(written: Path, out: Path) -> None:
    """Let a model take the place of an earlier one: at each step the one at `out` has the data that it names."""
    data, unused = data_file(written), {data_file(out), _second(out)}
    settle(data, written)
    with undisturbed():
        if data.exists():
            if _uses(out, data_file(out)):
                _bridge(written, out)
            data.replace(data_file(out))
            unused.remove(data_file(out))
        written.replace(out)
        settle(out.parent)
        for file in unused:
            file.unlink(missing_ok=True)


def _uses(out: Path, data: Path) -> bool:
    """Whether there is a model at `out` with that data file."""
    if not data.exists():
        return False
    try:
        model = onnx.load(out, load_external_data=False)
        return data.name in {file.name for file in data_files(model, out.parent)}
    except Exception:  # there is no model at `out`; protobuf has exception classes of its own
        return False


def _bridge(written: Path, out: Path) -> None:
    """Let the model take its place with its data in another file than the earlier model's, which is then free."""
    second = _second(out)
    shutil.copyfile(data_file(written), second)  # runtimes refuse a second link to one file
    model = onnx.load(written, load_external_data=False)
    rename_data(model, second.name)
    bridge = written.with_name("bridge.onnx")
    bridge.write_bytes(model.SerializeToString())
    bridge.replace(out)


def _put(
    host: Host, table: HostTable, payload: Payload, target: Target, remapping: Remapping | None
) -> tuple[Payload, Splice, set[str]]:
    """Change the host's model; gives what was put in, and the names of the tensors that were added."""
    prefix = free_prefix(host.found.names())
    folded: list[Folded] = []
    if split := without_matrix(payload):
        after = products(host.found, table, Tracer(host.path.parent))
        if after:
            payload, folded = split[0], fold(host.found, after, split[1], prefix)
    ids = f"{prefix}ids"
    graph = decode_graph(payload, ids, prefix, opset=opset_of(host.model), target=target)
    if table.type == onnx.TensorProto.FLOAT16:
        graph = half_rows(graph)
    made = itertools.count(step=graph.made)

    def lookup(of: str) -> list[onnx.NodeProto]:
        number = next(made)
        before, of = ([], of) if remapping is None else remapping.before(of, number)
        nodes = [*before, *graph.named(number, {ids: of})]
        if table.type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
            (rows,) = nodes[-1].output
            name = f"{prefix}Cast_of_{rows}"
            nodes.append(helper.make_node("Cast", [rows], [name], name=name, to=table.type))
        return nodes if remapping is None else [*nodes, *remapping.after(nodes[-1].output[0], number)]

    splice = replace(replace_lookups(host.found, table, prefix, lookup), folded=folded)
    added = [*graph.initializers(), *([] if remapping is None else remapping.initializers())]
    added += [numpy_helper.from_array(each.values, each.name) for each in folded]
    add(host.model, added, graph.functions())
    return payload, splice, {tensor.name for tensor in added}
