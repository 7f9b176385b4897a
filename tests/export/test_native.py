"""The native library: the rows of the functions' bodies, from one operator each; and what is said where it is not."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from eigenselect.compressors import DCCL, TTSVD, LightToken, ResidualQuantization
from eigenselect.compressors.payloads.bitpack import pack, planar, plane_widths, split
from eigenselect.compressors.payloads.trellis import Trellis
from eigenselect.export import native, to_onnx
from eigenselect.export.choices import Target
from eigenselect.export.native import build
from eigenselect.export.operators.functions import DOMAIN
from tests.cases import Case, forms, payload_of
from tests.running import command

ROOT = Path(__file__).resolve().parents[2]
SOME = [case for case in forms() if not isinstance(case.compressor, (DCCL, LightToken, ResidualQuantization, TTSVD))]
"""Cases with an operator of ours, but for the slowest."""

N = 40

FLOATS = (np.float32, np.float16)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, built here; skips where that takes what is not installed."""
    given = os.environ.get("ORT_INCLUDE")
    try:
        build.compiler(cuda=False)
        folder = build.headers(Path(given) if given else None)
    except ValueError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("native") / "libeigenselect.so"
    build.build(folder, out=path)
    return path


def session(
    model: onnx.ModelProto,
    library: Path | None,
    *,
    threads: int = 1,
    optimized: Path | None = None,
    provider: str = "CPUExecutionProvider",
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # a failing run also writes to the log
    options.intra_op_num_threads = threads
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    if library is not None:
        options.register_custom_ops_library(str(library))
    return ort.InferenceSession(model.SerializeToString(), options, providers=[provider])


def node_model(op: str, arrays: list[np.ndarray], ids: np.ndarray, dim: int, out: type) -> onnx.ModelProto:
    """One node of ours and no function: nothing but the library can run it."""
    names = [f"input{i}" for i in range(len(arrays))]
    types = [helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for kind in (ids.dtype, out)]
    graph = helper.make_graph(
        [helper.make_node(op, [*names, "ids"], ["vectors"], domain=DOMAIN, dim=dim)],
        "one",
        [helper.make_tensor_value_info("ids", types[0], [None] * ids.ndim)],
        [helper.make_tensor_value_info("vectors", types[1], [None] * (ids.ndim + 1))],
        [numpy_helper.from_array(array, name) for array, name in zip(arrays, names, strict=True)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, ir_version=9, opset_imports=opsets)


def run(library: Path, op: str, arrays: list[np.ndarray], ids: np.ndarray, dim: int, out: type, threads: int = 1):
    """What the node gives, having seen that it writes nothing behind it."""
    columns = arrays[2].size if "Columns" in op else max(dim, 0)
    shape, behind = (*ids.shape, columns), 64
    size = int(np.prod(shape))
    memory = np.full(size + behind, 77, out)
    made = session(node_model(op, arrays, ids, dim, out), library, threads=threads)
    binding = made.io_binding()
    binding.bind_cpu_input("ids", ids)
    binding.bind_output("vectors", "cpu", 0, out, shape, memory.ctypes.data)
    made.run_with_iobinding(binding)
    assert (memory[size:] == 77).all()
    return memory[:size].reshape(shape)


def lookup(v: int, w: int, dtype: type = np.float32) -> tuple[list[np.ndarray], np.ndarray]:
    """The inputs of a lookup, and all rows, (N, w*v)."""
    rng = np.random.default_rng(v)
    packed = rng.integers(0, 256, (N, w), dtype=np.uint8)
    lut = rng.standard_normal((256, v)).astype(dtype)
    return [packed, lut], lut[packed].reshape(N, -1)


def trellis(bits: int, window: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inputs of trellis codes, and all rows, (N, dim)."""
    rng = np.random.default_rng(window)
    packed = rng.integers(0, 256, (N, -(-dim * bits // 8)), dtype=np.uint8)
    levels = rng.standard_normal(1 << window, dtype=np.float32)
    return packed, levels, Trellis(packed, levels, bits, dim).read(slice(None))


def evenly_spaced(bits: int, dim: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The inputs of evenly spaced codes, and all rows, (N, dim)."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 1 << bits, (N, dim), dtype=np.uint8)
    planes = [planar(pack(part, m), m, dim) for part, m in zip(split(codes, bits), plane_widths(bits), strict=True)]
    scale, zero_point = np.float32(0.0137), np.uint8(101)
    rows = (codes.astype(np.float32) * np.float32(1 << (8 - bits)) - np.float32(zero_point)) * scale
    return [*planes, np.array(scale), np.array(zero_point)], rows


@pytest.mark.parametrize("target", ["portable", "cpu"])
@pytest.mark.parametrize("case", SOME, ids=lambda case: case.id)
def test_payloads_decode_alike_with_and_without(case: Case, target: Target, library: Path, tmp_path: Path) -> None:
    model = to_onnx(payload_of(case, "gaussian"), target=target)
    ours = [node.op_type for node in model.graph.node if node.domain == DOMAIN]
    ids = np.array([0, 299, -1, -300, 7, 7])
    rows, kept = {}, {}
    for used in (library, None):
        path = tmp_path / f"{used is None}.onnx"
        rows[used] = session(model, used, optimized=path).run(None, {"ids": ids})[0]
        kept[used] = [node.op_type for node in onnx.load(path).graph.node if node.domain == DOMAIN]
    np.testing.assert_array_equal(rows[library], rows[None], strict=True)
    assert (sorted(kept[library]), kept[None]) == (sorted(ours), [])


def test_the_cases_have_every_kind_of_operator() -> None:
    used = {
        node.op_type
        for case in SOME
        for target in ("portable", "cpu")
        for node in to_onnx(payload_of(case, "gaussian"), target=target).graph.node
        if node.domain == DOMAIN
    }
    trellis = {f"TrellisGather{name}" for name in ("1W8", "1W9Scaled", "2W8", "2W9Scaled", "4W8", "3W8", "7W8")}
    trellis |= {"TrellisGather1W8Columns", "TrellisGather1W9Columns"}
    packed = {"DequantizeGather", "DequantizeGatherScaled", *(f"DequantizeGatherU{bits}" for bits in range(1, 9))}
    assert used == packed | trellis


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("v", [1, 2, 3, 4, 8, 16])
def test_lookups_of_any_width(v: int, dtype: type, library: Path) -> None:
    for w in (1, 5, 64, 67):
        arrays, rows = lookup(v, w, dtype)
        for dim in {1, w * v - v // 2, w * v}:
            ids = np.arange(-N, N)
            found = run(library, "DequantizeGather", arrays, ids, dim, dtype)
            np.testing.assert_array_equal(found, rows[ids, :dim], strict=True)


@pytest.mark.parametrize("bits", range(1, 9))
def test_evenly_spaced_codes(bits: int, library: Path) -> None:
    for dim in (1, 7, 16, 300, 301):
        arrays, rows = evenly_spaced(bits, dim)
        ids = np.arange(-N, N)
        found = run(library, f"DequantizeGatherU{bits}", arrays, ids, dim, np.float32)
        np.testing.assert_array_equal(found, rows[ids], strict=True)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_trellis_codes(bits: int, library: Path) -> None:
    for more, dim in itertools.product((0, 4, 8, 16), (1, 3, 13, 16, 301)):
        packed, levels, rows = trellis(bits, bits + more, dim)
        ids = np.arange(-N, N)
        found = run(library, f"TrellisGather{bits}W{bits + more}", [packed, levels], ids, dim, np.float32)
        np.testing.assert_array_equal(found, rows[ids], strict=True)


@pytest.mark.parametrize("bits", [3, 5, 6, 7])
def test_trellis_codes_of_several_planes(bits: int, library: Path) -> None:
    for window, dim in itertools.product((8, 10, 16), (1, 13, 301)):
        planes = [trellis(width, window, dim) for width in plane_widths(bits)]
        packed, levels, rows = zip(*planes, strict=True)
        ids, expected = np.arange(-N, N), rows[0]
        for more in rows[1:]:
            expected = expected + more
        found = run(library, f"TrellisGather{bits}W{window}", [*packed, *levels], ids, dim, np.float32)
        np.testing.assert_array_equal(found, expected[ids], strict=True)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_some_columns_of_trellis_codes(bits: int, library: Path) -> None:
    numbers, ids = every_half(), np.arange(-N, N)
    for more, dim in itertools.product((0, 8, 16), (3, 16, 301)):
        packed, levels, rows = trellis(bits, bits + more, dim)
        for places in (np.array([dim - 1, 0, 1, 1]), np.arange(0, dim, 2), np.arange(1)):
            arrays, name = [packed, levels, places.astype(np.int32)], f"TrellisGather{bits}W{bits + more}Columns"
            np.testing.assert_array_equal(run(library, name, arrays, ids, dim, np.float32), rows[ids][:, places])
            scaled = run(library, f"{name}Scaled", [*arrays, numbers], ids, dim, np.float32)
            np.testing.assert_array_equal(scaled, (rows[:, places] * numbers.astype(np.float32))[ids], strict=True)
    for places, says in (
        ([dim], f"place {dim}: it must be from 0 to {dim - 1}"),
        ([-1], "place -1"),
        ([[0]], "places"),
    ):
        with pytest.raises(Exception, match=f"Columns: {says}"):
            run(library, name, [packed, levels, np.array(places, np.int32)], ids, dim, np.float32)


def every_half() -> np.ndarray:
    """Numbers in float16, (N, 1): of either sign, some below the normal ones, and none."""
    numbers = np.random.default_rng(3).standard_normal((N, 1)).astype(np.float16)
    numbers[:6, 0] = [0, 6e-8, -6e-8, 5e-5, 6.1e-5, -65504]
    return numbers


def test_rows_are_scaled(library: Path) -> None:
    numbers, ids, dim = every_half(), np.arange(-N, N), 37
    rng = np.random.default_rng(4)
    codes, levels = rng.integers(0, 256, (N, 1), dtype=np.uint8), rng.standard_normal((256, 1), dtype=np.float32)
    packed, values, rows = trellis(2, 10, dim)
    (words, lut), looked_up = lookup(4, 10)
    (plane, step, zero), spaced = evenly_spaced(2, dim)
    (whole, wide), one_by_one = lookup(3, 13)
    for op, arrays, expected in (
        ("TrellisGather2W10", [packed, values], rows),
        ("DequantizeGather", [words, lut], looked_up[:, :dim]),
        ("DequantizeGather", [whole, wide], one_by_one[:, :dim]),
        ("DequantizeGatherU2", [plane, step, zero], spaced),
    ):
        found = run(library, f"{op}Scaled", [*arrays, numbers], ids, dim, np.float32)
        np.testing.assert_array_equal(found, (expected * numbers.astype(np.float32))[ids], strict=True)
        found = run(library, f"{op}ScaledByCodes", [*arrays, codes, levels], ids, dim, np.float32)
        np.testing.assert_array_equal(found, (expected * levels[codes[:, 0]])[ids], strict=True)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (3, 1, 0), (5_000,)])
@pytest.mark.parametrize("threads", [1, 2])
def test_ids_of_any_shape_and_type(dtype: type, shape: tuple[int, ...], threads: int, library: Path) -> None:
    ids = np.random.default_rng(0).integers(-N, N, shape).astype(dtype)
    arrays, rows = lookup(2, 150)
    found = run(library, "DequantizeGather", arrays, ids, 299, np.float32, threads)
    np.testing.assert_array_equal(found, rows[ids, :299], strict=True)
    arrays, rows = evenly_spaced(3, 300)
    found = run(library, "DequantizeGatherU3", arrays, ids, 300, np.float32, threads)
    np.testing.assert_array_equal(found, rows[ids], strict=True)


@pytest.mark.parametrize("id", [N, -N - 1, 2**40, -(2**63)])
@pytest.mark.parametrize("op", ["DequantizeGather", "DequantizeGatherU3"])
def test_an_id_out_of_range_is_named(op: str, id: int, library: Path) -> None:
    arrays = lookup(2, 6)[0] if op == "DequantizeGather" else evenly_spaced(3, 12)[0]
    says = rf"{op}: id {id} is out of range for a table of 40 rows: it must be from -40 to 39"
    with pytest.raises(Exception, match=says):
        run(library, op, arrays, np.array([0, id]), 12, np.float32)


def test_arrays_that_do_not_fit_are_refused(library: Path) -> None:
    (packed, lut), (high, low, *numbers) = lookup(2, 6)[0], evenly_spaced(3, 12)[0]
    cases = [
        ("", [packed, lut], 13, "dim = 13: it must be from 0 to the 12 columns that are stored"),
        ("", [packed, lut], -1, "dim = -1: it must be from 0"),
        ("", [packed, lut[:255]], 12, r"a lookup table of shape \(255, 2\): it must be \(256, v\)"),
        ("", [packed[0], lut], 12, r"packed rows of shape \(6\): they must be \(n, w\)"),
        ("U3", [high, low[:9], *numbers], 12, "planes of 40 and 9 rows"),
        ("U3", [high, low, *numbers], 13, "dim = 13: it must be from 0 to the 12 columns"),
        ("U3", [high, low, numbers[0].repeat(2), numbers[1]], 12, "scale and zero_point must be one number each"),
    ]
    for op, arrays, dim, says in cases:
        with pytest.raises(Exception, match=f"DequantizeGather{op}: {says}"):
            run(library, f"DequantizeGather{op}", arrays, np.array([0]), dim, np.float32)


@pytest.mark.gpu
def test_cuda_kernels_give_the_same_rows(tmp_path: Path) -> None:
    cuda = "CUDAExecutionProvider"
    if cuda not in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDAExecutionProvider")
    given = os.environ.get("ORT_INCLUDE")
    try:
        build.build(Path(given) if given else None, cuda=True, out=tmp_path / "libeigenselect.so")
    except ValueError as error:
        pytest.skip(str(error))
    ids = np.arange(-N - 1, N + 1)  # the first and the last one are of no row: zeros
    made = [("DequantizeGather", *lookup(v, w, dtype)) for v in (1, 2, 3, 4, 8) for w in (5, 64) for dtype in FLOATS]
    made += [(f"DequantizeGatherU{bits}", *evenly_spaced(bits, dim)) for bits in range(1, 9) for dim in (7, 300)]
    for op, arrays, rows in made:
        model = node_model(op, arrays, ids, rows.shape[1], rows.dtype.type)
        (found,) = session(model, tmp_path / "libeigenselect.so", provider=cuda).run(None, {"ids": ids})
        np.testing.assert_array_equal(found[1:-1], rows[ids[1:-1]], strict=True)
        assert not found[[0, -1]].any()


def test_a_session_takes_the_library_by_register(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LIBRARY", library)
    assert native.library() == library
    options = ort.SessionOptions()
    native.register(options)
    arrays, rows = lookup(4, 3)
    model = node_model("DequantizeGather", arrays, np.array([0]), 12, np.float32)
    for _ in range(2):  # options may make many sessions
        loaded = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(loaded.run(None, {"ids": np.array([3])})[0], rows[[3]])


def test_a_library_that_is_not_built_is_not_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "libeigenselect.so")
    assert native.library() is None
    with pytest.raises(
        ValueError, match=r"^there is no .*libeigenselect\.so: build it with make native, or do without"
    ):
        native.register(ort.SessionOptions())


def header(folder: Path, version: int = 17) -> Path:
    """A folder with a header of that version, as far as it is looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / build.HEADER).write_text(f"#pragma once\n#define ORT_API_VERSION {version}\n")
    return folder


@pytest.mark.parametrize("inside", ["", "onnxruntime", "onnxruntime/core/session", "include"])
def test_headers_are_found_where_packages_keep_them(inside: str, tmp_path: Path) -> None:
    folder = header(tmp_path / inside)
    assert build.headers(tmp_path) == folder


def test_headers_of_the_system_are_found_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SYSTEM", (tmp_path / "usr", tmp_path / "local"))
    folder = header(tmp_path / "local" / "onnxruntime")
    assert build.headers(None) == folder


def refused(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert command("native", *words) == 2
    out, error = capfd.readouterr()
    assert out == ""
    return error


def test_a_missing_header_says_what_to_install(tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", sys.executable)  # there, and not asked to compile
    says = r"error: no onnxruntime_c_api.h in {}: install libonnxruntime-dev (Debian 13, "
    assert refused(capfd, f"include={tmp_path}").startswith(says.format(tmp_path))
    monkeypatch.setattr(build, "SYSTEM", (tmp_path / "a", tmp_path / "b"))
    assert refused(capfd).startswith(says.format(f"{tmp_path / 'a'} or {tmp_path / 'b'}"))


def test_an_old_header_is_refused(tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", sys.executable)
    folder = header(tmp_path, 16)
    says = f"error: {folder / build.HEADER} has API 16: it must be 17 or later\n"
    assert refused(capfd, f"include={folder}") == says


def test_a_missing_compiler_says_what_to_install(tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    says = "error: no C++ compiler g++: install g++ (apt install g++), or name another one by CXX=...\n"
    assert refused(capfd, f"include={header(tmp_path)}") == says
    monkeypatch.setenv("CXX", sys.executable)
    assert refused(capfd, f"include={tmp_path}", "cuda=1").startswith("error: no CUDA compiler nvcc: install")


def test_wrong_words_are_refused(capfd) -> None:
    assert refused(capfd, "cuda=yes") == "error: cuda = 'yes': must be 0 or 1\n"
    assert refused(capfd, "gpu=1") == "error: there is no setting gpu: there are cuda, include\n"


def test_what_was_built_before_stays_when_compiling_fails(tmp_path: Path, capfd, monkeypatch) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\nfor last; do :; done\necho half > "$last"\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    out = tmp_path / "out" / "libeigenselect.so"
    out.parent.mkdir()
    out.write_text("before")
    with pytest.raises(ValueError, match=r"compiler failed: its messages are above$"):
        build.build(header(tmp_path), out=out)
    assert [(path.name, path.read_text()) for path in out.parent.iterdir()] == [(out.name, "before")]


def test_make_native_fails_alone(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make")
    # The environment is taken as it is: here it is the one that runs the tests.
    run = subprocess.run(
        ["make", "native", "-o", ".venv/.installed", f"BIN={Path(sys.executable).parent}", f"ORT_INCLUDE={tmp_path}"],
        cwd=ROOT,
        env=os.environ | {"CXX": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert f"error: no onnxruntime_c_api.h in {tmp_path}: install libonnxruntime-dev" in run.stderr
