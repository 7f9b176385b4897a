"""The torch module on CUDA, and the kernel that looks packed rows up there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from eigenselect.export import CompressedEmbedding
from eigenselect.export.torch import module as torch_module
from tests.cases import Case, payload_of
from tests.export.test_torch_module import IDS, N, agree, every_form, oracle


def cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")


def triton_device() -> str:
    """Where the kernel can run."""
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        return "cuda"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return "cpu"
    pytest.skip("triton needs a CUDA device, or TRITON_INTERPRET=1")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("v", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [1, 13, 300, 1500])
def test_the_kernel_is_the_lookup(dim: int, v: int, dtype: torch.dtype) -> None:
    device = triton_device()
    from eigenselect.export.torch.triton_kernel import dequantize_gather

    torch.manual_seed(0)
    packed = torch.randint(0, 256, (50, -(-dim // v)), dtype=torch.uint8, device=device)
    lut = torch.randn(256, v, device=device)
    for shape in ((3, 5), (), (0,), (70,)):
        ids = torch.randint(0, 50, shape, dtype=dtype, device=device)
        expected = lut[packed[ids.long()].long()].flatten(-2)[..., :dim]
        torch.testing.assert_close(dequantize_gather(packed, lut, ids, dim), expected, rtol=0, atol=0)


@pytest.mark.gpu
@every_form
def test_on_cuda_it_is_an_embedding_of_the_decoded_table(case: Case) -> None:
    cuda()
    made = payload_of(case, "gaussian")
    found = CompressedEmbedding(made).cuda()
    packed = any("packed" in name for name, _ in found.named_buffers())
    assert found.kernel == ("triton" if torch_module.HAS_TRITON and packed else "torch")
    for ids in (torch.arange(N), IDS.int(), torch.tensor(5), IDS[:, :0]):
        agree(case, found(ids.cuda()), oracle(made).cuda()(ids.cuda()))


@pytest.mark.gpu
@pytest.mark.parametrize("wrong", [-1, N])
def test_on_cuda_a_wrong_id_is_an_error(wrong: int) -> None:
    cuda()
    # A device-side assertion ends all use of the device by a process.
    script = (
        "import torch\nfrom tests.export.test_torch_module import module\n"
        f"print(module().cuda()(torch.tensor([0, {wrong}]).cuda()).cpu())\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "assert" in run.stderr
