"""The torch module against `nn.Embedding` of the decoded table, wherever a module may be taken."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from eigenselect.compressors import Payload
from eigenselect.export import CompressedEmbedding
from tests.cases import CASES, Case, decode, forms, payload_of

every_form = pytest.mark.parametrize("case", forms(), ids=lambda case: case.id)

N, K = 300, 13

IDS = torch.tensor([[[0, 299, 7], [7, 1, 150]]])


def payload(name: str) -> Payload:
    return payload_of(next(case for case in CASES if case.id == name), "gaussian")


def module(name: str = "uniform-b3") -> CompressedEmbedding:
    return CompressedEmbedding(payload(name))


def oracle(of: Payload) -> nn.Embedding:
    return nn.Embedding.from_pretrained(torch.from_numpy(decode(of)))


def agree(case: Case, found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found.shape, found.dtype, found.device) == (expected.shape, expected.dtype, expected.device)
    if case.parity == "bit":
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    else:
        assert (found - expected).double().norm() <= 1e-6 * expected.double().norm()


# --- what it looks up -------------------------------------------------------------------------------------------------


@every_form
def test_it_is_an_embedding_of_the_decoded_table(case: Case) -> None:
    made = payload_of(case, "gaussian")
    found, expected = CompressedEmbedding(made), oracle(made)
    assert (found.num_embeddings, found.embedding_dim) == (expected.num_embeddings, expected.embedding_dim)
    for ids in (torch.arange(N), IDS, IDS.int(), torch.tensor(5), torch.tensor([], dtype=torch.int32), IDS[:, :0]):
        agree(case, found(ids), expected(ids))
    for wrong in (-1, -N, N, 2**40, -(2**40)):
        with pytest.raises(IndexError):
            expected(torch.tensor([0, wrong]))
        with pytest.raises(IndexError, match=rf"^ids are from {min(0, wrong)} to {max(0, wrong)}: .* from 0 to 299$"):
            found(torch.tensor([0, wrong]))


@every_form
def test_its_buffers_are_the_arrays_by_name(case: Case) -> None:
    made = payload_of(case, "gaussian")
    found = CompressedEmbedding(made)
    assert not [*found.parameters()]
    buffers = dict(found.named_buffers())
    assert buffers.keys() == found.state_dict().keys()
    for name, array in made.arrays().items():
        name = name.replace(".", "_")
        if name.endswith("codebook"):  # expanded to the values of a whole byte
            assert len(buffers.pop(f"{name.removesuffix('codebook')}lut")) == 256
        else:
            np.testing.assert_array_equal(buffers.pop(name).numpy().ravel(), array.ravel(), strict=True)
    assert sum(buffer.nbytes for buffer in buffers.values()) <= 4096  # what the decode computes with beside them
    assert found.nbytes == sum(buffer.nbytes for buffer in found.buffers())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.bool, torch.float32])
def test_ids_of_another_type_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(RuntimeError):
        oracle(payload("uniform-b3"))(torch.zeros(2, dtype=dtype))
    with pytest.raises(ValueError, match=rf"^ids are {dtype}: they must be torch\.int32 or torch\.int64$"):
        module()(torch.zeros(2, dtype=dtype))


def test_padding_idx_is_kept_as_an_embedding_keeps_it() -> None:
    for given in (None, 0, 7, -1, -N):
        expected = nn.Embedding(N, K, padding_idx=given).padding_idx
        assert CompressedEmbedding(payload("uniform-b3"), given).padding_idx == expected
    for wrong in (N, -N - 1):
        with pytest.raises(ValueError, match=rf"^padding_idx = {wrong}: it must be from -300 to 299$"):
            CompressedEmbedding(payload("uniform-b3"), wrong)


def test_there_is_no_weight_and_it_says_what_to_do() -> None:
    with pytest.raises(AttributeError, match=r"^CompressedEmbedding has no weight, .*: decode rows with module\(ids\)"):
        _ = module().weight
    assert not hasattr(module(), "weight")
    with pytest.raises(AttributeError, match="has no attribute 'wight'"):
        _ = module().wight


def test_it_says_what_it_is() -> None:
    made = CompressedEmbedding(payload("uniform-b3"), padding_idx=3, dtype=torch.float16)
    expected = f"300, 13, padding_idx=3, dtype=torch.float16, nbytes={made.nbytes}, kernel=torch"
    assert repr(made) == f"CompressedEmbedding({expected})"
    assert "padding_idx" not in repr(module())


# --- moves ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uniform-b3", "float16", "spectral0.5-codebook-b2", "exact0-uniform-b1", "tt3-2x"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "move",
    [
        lambda found, dtype: found.to(dtype),
        lambda found, dtype: nn.Sequential(nn.ModuleList([found])).to(dtype),
        lambda found, dtype: nn.Sequential(found).to("cpu", dtype),
        lambda found, dtype: (
            getattr(nn.Sequential(found), {2: "half", 8: "double"}[dtype.itemsize])()
            if dtype != torch.bfloat16
            else nn.Sequential(found).bfloat16()
        ),
    ],
)
def test_another_dtype_is_of_the_output_alone(
    name: str, dtype: torch.dtype, move: Callable[[nn.Module, torch.dtype], nn.Module]
) -> None:
    found = module(name)
    before, exact = copy.deepcopy(found.state_dict()), found(IDS)
    move(found, dtype)
    assert found.dtype == dtype
    torch.testing.assert_close(found(IDS), exact.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(found.state_dict(), before, rtol=0, atol=0)  # dtypes too
    nn.Sequential(found).float()
    torch.testing.assert_close(found(IDS), exact, rtol=0, atol=0)


def test_the_dtype_may_be_given() -> None:
    found = CompressedEmbedding(payload("uniform-b3"), dtype=torch.bfloat16)
    torch.testing.assert_close(found(IDS), module()(IDS).bfloat16(), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"^dtype = torch\.int8: it must be a floating-point type$"):
        CompressedEmbedding(payload("uniform-b3"), dtype=torch.int8)


def test_devices_are_followed() -> None:
    found = CompressedEmbedding(payload("uniform-b3"), device="meta")
    assert found(IDS.to("meta")).shape == (1, 2, 3, K)
    around = nn.Sequential(found).to_empty(device="cpu")
    around.load_state_dict(nn.Sequential(module()).state_dict())
    torch.testing.assert_close(found(IDS), module()(IDS), rtol=0, atol=0)
    assert {buffer.device.type for buffer in around.to("meta", torch.float16).buffers()} == {"meta"}


def test_autocast_does_not_round_what_is_decoded() -> None:
    for name in ("pca-k5-keep", "spectral0.5-codebook-b2", "tt3-2x"):
        found = module(name)
        exact = found(IDS)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(found(IDS), exact, rtol=0, atol=0)
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


# --- copies -----------------------------------------------------------------------------------------------------------


def test_state_is_saved_and_loaded_and_the_payload_stays() -> None:
    first, second = module("codebook-b2"), module("codebook-b2")
    expected, stored = first(IDS), copy.deepcopy(payload("codebook-b2").arrays())
    with torch.no_grad():
        for buffer in second.buffers():
            buffer.zero_()
    assert not torch.equal(second(IDS), expected)
    assert second.load_state_dict(first.state_dict()) == ([], [])
    torch.testing.assert_close(second(IDS), expected, rtol=0, atol=0)
    for name, array in payload("codebook-b2").arrays().items():
        np.testing.assert_array_equal(array, stored[name])
    with pytest.raises(RuntimeError, match="weight"):
        second.load_state_dict(nn.Embedding(N, K).state_dict())


@pytest.mark.parametrize("again", [copy.deepcopy, lambda found: pickle.loads(pickle.dumps(found))])
@pytest.mark.parametrize("name", ["uniform-b3", "bands0.3-kmeans-b3-bands0.5-kmeans-b2-uniform-b1"])
def test_a_copy_stands_alone(name: str, again: Callable[[nn.Module], nn.Module]) -> None:
    found = CompressedEmbedding(payload(name), padding_idx=3).half().eval()
    expected = found(IDS)
    made = again(found)
    for buffer in found.buffers():
        buffer.zero_()
    torch.testing.assert_close(made(IDS), expected, rtol=0, atol=0)
    assert (made.padding_idx, made.dtype, made.training) == (3, torch.float16, False)


def test_replicas_run_side_by_side() -> None:
    # What DataParallel does, which itself needs several devices: replicas with buffers of their own, a thread each.
    found = module("row-minmax-b2-scales32")
    expected = found(IDS)
    replicas = [found._replicate_for_data_parallel() for _ in range(4)]
    for replica in replicas:
        replica._buffers = {name: buffer.clone() for name, buffer in found._buffers.items()}
    for buffer in found.buffers():
        buffer.zero_()
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda replica: replica(IDS), replicas):
            torch.testing.assert_close(result, expected, rtol=0, atol=0)
    torch.testing.assert_close(nn.DataParallel(module())(IDS), module()(IDS), rtol=0, atol=0)


# --- transformations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "float16",
        "uniform-b3",
        "trellis8-b2",
        "pq-m5-k8",
        "rq-m3-k8",
        "row-minmax-b2-scales32",
        "bands0.5-(spectral0.5-kmeans-b4)-pca-k5-keep",
        "spectral0.5-exact0+4-codebook-b4",
        "tt3-2x",
    ],
)
def test_compiled_as_one_graph(name: str) -> None:
    (case,) = {case.id: case for case in CASES if case.id == name}.values()
    found = module(name)
    torch._dynamo.reset()
    compiled = torch.compile(found, fullgraph=True, backend="aot_eager")
    agree(case, compiled(IDS), found(IDS))
    with torch.autocast("cpu", torch.bfloat16):
        agree(case, compiled(IDS), found(IDS))
    for wrong in (-1, N):
        with pytest.raises(IndexError):
            compiled(torch.tensor([[[0, 0, 0], [0, wrong, 0]]]))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch, about itself
@pytest.mark.slow
def test_compiled_by_the_default_backend() -> None:
    if not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("inductor needs a C++ compiler")
    found = module()
    torch._dynamo.reset()
    compiled = torch.compile(found, fullgraph=True, dynamic=True)
    for ids in (torch.arange(N), torch.tensor([7, 7])):
        torch.testing.assert_close(compiled(ids), found(ids), rtol=0, atol=0)


def test_torch_transforms_it() -> None:
    found = module("kmeans-b3")
    expected = found(IDS)
    torch.testing.assert_close(torch.func.vmap(found)(IDS[0]), expected[0], rtol=0, atol=0)
    buffers = dict(found.named_buffers())
    torch.testing.assert_close(torch.func.functional_call(found, buffers, (IDS,)), expected, rtol=0, atol=0)
    exported = torch.export.export(found, (IDS,)).module()
    torch.testing.assert_close(exported(IDS), expected, rtol=0, atol=0)
    with pytest.raises(IndexError):
        exported(torch.full_like(IDS, -1))


def test_only_who_asks_for_it_waits_for_torch() -> None:
    script = (
        "import sys, export\n"
        "assert 'torch' not in sys.modules\n"
        "assert not hasattr(export, 'CompressedEmbeding')\n"
        "from export import CompressedEmbedding, replace_embeddings, torch_to_onnx\n"
        "assert 'torch' in sys.modules and 'triton' not in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
