"""Verification: passes what is right, and names the check that fails on everything that is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from eigenselect.compressors import EmbeddingTable, KMeans, Payload, Spectral, TrellisCode
from eigenselect.compressors.payloads.ops import NumpyOps
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.payloads.torch_ops import TorchOps
from eigenselect.export import OnnxDecoder, VerificationError, save, to_onnx, verify
from eigenselect.export.verification import parity
from tests.cases import CASES, Case, compress, decode, forms, gaussian, payload_of

every_form = pytest.mark.parametrize("case", forms(), ids=lambda case: case.id)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def small() -> Payload:
    """Twenty rows: every one of them is among those that `verify` draws."""
    (case,) = (case for case in CASES if case.id == "uniform-b4")
    return compress(case, EmbeddingTable(gaussian(20, 13)))


def initializer(model: onnx.ModelProto, name: str) -> TensorProto:
    (found,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    return found


def change(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    initializer(model, name).CopyFrom(numpy_helper.from_array(array, name))


def refused(payload: Payload, model: onnx.ModelProto, folder: Path, message: str) -> None:
    save(model, folder / "model.onnx")
    with pytest.raises(VerificationError, match=message):
        verify(payload, folder / "model.onnx", rng())


# --- what is right ----------------------------------------------------------------------------------------------------


@every_form
def test_a_real_export_passes(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "session_bytes", lambda path, ids: 0)  # a process each; the next tests start it
    payload = payload_of(case, "gaussian")
    save(to_onnx(payload), tmp_path / "model.onnx")
    report = verify(payload, tmp_path / "model.onnx", rng())
    assert report.rows > 290
    assert report.payload_bytes == payload.nbytes
    assert report.file_bytes == (tmp_path / "model.onnx").stat().st_size
    codebooks = sum(array.nbytes for name, array in payload.arrays().items() if name.endswith(("codebook", "levels")))
    least, most = payload.nbytes - codebooks, payload.nbytes + parity.OVERHEAD_BYTES * payload.bands
    added = parity.added_bytes(payload)
    assert least + added <= report.constant_bytes <= most + added
    assert least < report.file_bytes <= most
    assert report.providers == ["CPUExecutionProvider"]
    if case.parity == "bit":
        assert (report.max_abs_error, report.relative_error) == (0, 0)
    else:
        assert report.relative_error <= 1e-6


@every_form
def test_float16_rows_pass_too(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "session_bytes", lambda path, ids: 0)
    payload = payload_of(case, "gaussian")
    save(to_onnx(payload, output="float16"), tmp_path / "model.onnx")
    report = verify(payload, tmp_path / "model.onnx", rng(), output="float16")
    if case.parity == "bit":
        assert (report.max_abs_error, report.relative_error) == (0, 0)
        got, ids = OnnxDecoder(tmp_path / "model.onnx").decode(np.arange(payload.n)), slice(0, payload.n)
        np.testing.assert_array_equal(got, payload.read(ids).astype(np.float16), strict=True)


def test_session_memory_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    save(to_onnx(small()), tmp_path / "model.onnx")
    report = verify(small(), tmp_path / "model.onnx", rng())
    assert 0 < report.session_bytes <= 32 << 20


def test_the_decoder_reads_rows_as_a_payload_does(tmp_path: Path) -> None:
    save(to_onnx(small()), tmp_path / "model.onnx")
    decoder = OnnxDecoder(tmp_path / "model.onnx")
    np.testing.assert_array_equal(decoder.read(slice(3, 17)), small().read(slice(3, 17)), strict=True)


# --- what is not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [0, 11, 19])
def test_one_flipped_bit_is_seen(row: int, tmp_path: Path) -> None:
    payload, model = small(), to_onnx(small())
    packed = numpy_helper.to_array(initializer(model, "packed")).copy()
    packed[row, 2] ^= 1
    change(model, "packed", packed)
    refused(payload, model, tmp_path, r"^model\.onnx: relative_error is \d.*, allowed is 1e-06: not handed over$")


@pytest.mark.parametrize("row", [0, 19])
def test_the_first_and_the_last_row_are_always_compared(
    row: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "SAMPLED_ROWS", 0)
    test_one_flipped_bit_is_seen(row, tmp_path)


def test_float16_rows_are_held_against_their_rounding(tmp_path: Path) -> None:
    payload = small()
    path, model = tmp_path / "model.onnx", to_onnx(payload, output="float16")
    lut = numpy_helper.to_array(initializer(model, "lut")).copy()
    entry = (payload.arrays()["packed"][5, 0], 0)
    lut[entry] = np.nextafter(lut[entry], np.float16(np.inf))  # one of the 260 entries by one unit in the last place
    change(model, "lut", lut)
    save(model, path)
    with pytest.raises(VerificationError, match=r"relative_error is .*, allowed is 1e-06"):
        verify(payload, path, rng(), output="float16")
    save(to_onnx(payload), path)
    with pytest.raises(VerificationError, match=r"^the model gives rows of float32, not of float16$"):
        verify(payload, path, rng(), output="float16")


@pytest.mark.parametrize("scale", [1e-7, 1e6])
def test_entries_outside_of_the_range_of_float16_are_seen(scale: float, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.id == "uniform-b4")
    payload = compress(case, EmbeddingTable(gaussian(20, 13) * np.float32(scale)))
    with np.errstate(over="ignore"):
        save(to_onnx(payload, output="float16"), tmp_path / "model.onnx")
    with pytest.raises(VerificationError, match=r"export\.output=float32 takes entries outside of 6\.1e-5 to 65,504"):
        verify(payload, tmp_path / "model.onnx", rng(), output="float16")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_level_that_is_not_finite_is_seen(value: float, tmp_path: Path) -> None:
    payload, model = small(), to_onnx(small())
    lut = numpy_helper.to_array(initializer(model, "lut")).copy()
    lut[payload.arrays()["packed"][5, 0], 0] = value
    change(model, "lut", lut)
    refused(payload, model, tmp_path, r"^model\.onnx: relative_error is (nan|inf), allowed is 1e-06")


def test_an_error_just_above_the_allowed_is_seen(tmp_path: Path) -> None:
    payload = small()
    for factor, passes in ((1 + 2**-21, True), (1 + 2**-18, False)):  # 5e-7 and 4e-6, of every entry
        model = to_onnx(payload)
        change(model, "lut", numpy_helper.to_array(initializer(model, "lut")) * np.float32(factor))
        if passes:
            save(model, tmp_path / "model.onnx")
            assert 0 < verify(payload, tmp_path / "model.onnx", rng()).relative_error <= 1e-6
        else:
            refused(payload, model, tmp_path, r"relative_error is [34]\.\d*e-06, allowed is 1e-06")


def test_padding_above_16_kib_is_seen(tmp_path: Path) -> None:
    payload, model = small(), to_onnx(small())
    model.doc_string = "x" * (16 * 1024)
    allowed = payload.nbytes + 16 * 1024 + 4 * payload.k
    refused(payload, model, tmp_path, rf"^model\.onnx: file_bytes is \d+, allowed is {allowed}: not handed over$")


def test_another_width_is_seen(tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.id == "uniform-b4")
    narrow = compress(case, EmbeddingTable(gaussian(20, 12)))
    refused(small(), to_onnx(narrow), tmp_path, r"^the model gives rows of shape \(20, 12\), the payload \(20, 13\)$")


def test_a_provider_that_is_not_used_is_seen(tmp_path: Path) -> None:
    absent = next(
        name
        for name in ("CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider")
        if name not in ort.get_available_providers()
    )
    save(to_onnx(small()), tmp_path / "model.onnx")
    message = rf"^ONNX Runtime did not use \['{absent}'\], only \['CPUExecutionProvider'\]: install that provider$"
    with pytest.warns(UserWarning, match=absent), pytest.raises(VerificationError, match=message):
        verify(small(), tmp_path / "model.onnx", rng(), [absent, "CPUExecutionProvider"])


def test_a_model_that_cannot_be_loaded_alone_is_seen(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(VerificationError, match=r"^model\.onnx could not be loaded in a process of its own: .*"):
        parity.session_bytes(tmp_path / "model.onnx", 1)


def of_bytes(n: int) -> Packed:
    """An (n, 64) payload whose entries are its bytes: a Cast of the packed table is its decode."""
    packed = np.random.default_rng(0).integers(0, 256, (n, 64), dtype=np.uint8)
    return Packed(packed, np.arange(256, dtype=np.float32)[:, None], 64)


def hand_made(payload: Packed, nodes: list[onnx.NodeProto], **constants: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "hand-made",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", payload.k])],
        [
            numpy_helper.from_array(payload.packed, "packed"),
            *(numpy_helper.from_array(array, name) for name, array in constants.items()),
        ],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(model, full_check=True)
    return model


def test_a_table_expanded_when_it_is_loaded_is_seen(tmp_path: Path) -> None:
    payload = of_bytes(1_000)
    model = hand_made(
        payload,
        [
            helper.make_node("Cast", ["packed"], ["table"], to=TensorProto.FLOAT),
            helper.make_node("Gather", ["table", "ids"], ["vectors"], axis=0),
        ],
    )
    # ONNX Runtime folds the Cast: the file is small, the session is not.
    allowed = payload.nbytes + 16 * 1024 + 4 * payload.k
    refused(payload, model, tmp_path, rf"^model\.onnx: constant_bytes is 256000, allowed is {allowed}: not handed")


def test_a_table_stored_expanded_is_seen(tmp_path: Path) -> None:
    payload = of_bytes(1_000)
    model = hand_made(payload, [helper.make_node("Gather", ["table", "ids"], ["vectors"])], table=decode(payload))
    allowed = payload.nbytes + 16 * 1024 + 4 * payload.k
    refused(payload, model, tmp_path, rf"^model\.onnx: file_bytes is 3\d{{5}}, allowed is {allowed}: not handed over$")


def test_a_table_expanded_when_it_is_run_is_seen(tmp_path: Path) -> None:
    payload = of_bytes(200_000)
    model = hand_made(
        payload,
        [
            # All rows, from a range that ends at n + size(ids) - size(ids): nothing that could be folded.
            helper.make_node("Size", ["ids"], ["size"]),
            helper.make_node("Add", ["n", "size"], ["longer"]),
            helper.make_node("Sub", ["longer", "size"], ["end"]),
            helper.make_node("Range", ["zero", "end", "one"], ["all"]),
            helper.make_node("Gather", ["packed", "all"], ["bytes"], axis=0),
            helper.make_node("Cast", ["bytes"], ["table"], to=TensorProto.FLOAT),
            helper.make_node("Gather", ["table", "ids"], ["vectors"], axis=0),
        ],
        n=np.array(200_000),
        zero=np.array(0),
        one=np.array(1),
    )
    allowed = 2 * payload.nbytes + (32 << 20)
    refused(payload, model, tmp_path, rf"^model\.onnx: session_bytes is \d+, allowed is {allowed}: not handed over$")
    save(to_onnx(payload), tmp_path / "model.onnx")
    assert verify(payload, tmp_path / "model.onnx", rng()).session_bytes <= allowed


# --- on a GPU ---------------------------------------------------------------------------------------------------------


def _ids(payload: Payload) -> np.ndarray:
    return np.concatenate([np.arange(payload.n), [-1, -payload.n, 3, 3]])


def _check(case: Case, got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    if case.parity == "bit":
        np.testing.assert_array_equal(got, expected)
    else:
        assert np.linalg.norm(got - expected.astype(np.float64)) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.gpu
@every_form
def test_torch_on_cuda_is_numpy(case: Case) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    payload = payload_of(case, "gaussian")
    ids = _ids(payload)
    got = payload.decode(torch.from_numpy(ids).cuda(), TorchOps("cuda"))
    assert got.device.type == "cuda"
    _check(case, got.cpu().numpy(), payload.decode(ids, NumpyOps()))


@pytest.mark.gpu
@every_form
def test_onnx_runtime_on_cuda_is_numpy(case: Case, tmp_path: Path) -> None:
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDAExecutionProvider")
    payload = payload_of(case, "gaussian")
    save(to_onnx(payload), tmp_path / "model.onnx")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    decoder = OnnxDecoder(tmp_path / "model.onnx", providers)
    assert decoder.providers[0] == "CUDAExecutionProvider"
    ids = _ids(payload)
    _check(case, decoder.decode(ids), payload.decode(ids, NumpyOps()))


def test_each_band_of_rows_may_bring_lookup_tables_of_its_own() -> None:
    bands = {case.id: payload_of(case, "gaussian").bands for case in CASES}
    assert {bands[name] for name in ("float32", "uniform-b7", "spectral0.5-codebook-b1")} == {1}
    assert {count for name, count in bands.items() if name.startswith("bands")} == {2, 3}
    apart = ("bands", "matrix(", "transform", "leverage")
    assert {count for name, count in bands.items() if not any(word in name for word in apart)} == {1}


def test_a_compressed_matrix_has_room_of_its_own(tmp_path: Path) -> None:
    """Its lookup tables are in the file beside those of the rows."""
    method = Spectral(norm="uint2", matrix=KMeans(5), then=TrellisCode(window=8, row=16))
    payload = method.compress(EmbeddingTable(gaussian(300, 64)), rng())
    save(to_onnx(payload), tmp_path / "model.onnx")
    report = verify(payload, tmp_path / "model.onnx", rng())
    assert report.file_bytes > payload.nbytes + parity.OVERHEAD_BYTES + parity.COLUMN_BYTES * payload.k
