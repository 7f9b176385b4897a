"""A torch model that holds compressed embeddings as an ONNX model."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import torch

from eigenselect.export.choices import OPSET
from eigenselect.export.operators.functions import DOMAIN, operator
from eigenselect.export.torch.module import CompressedEmbedding


def torch_to_onnx(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    path: Path,
    *,
    kwargs: dict[str, Any] | None = None,
    dynamic_shapes: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset: int = OPSET,
) -> None:
    """Write `model` to `path`; each lookup of packed rows in it is one operator of ours, whose function is added.

    `model` is exported as it is: in training mode unless it was put into `eval()`. Weights of more than 1.5 GB lie
    beside the file, in `<name>.data`. Whatever is there already is overwritten, once the new model has been checked.

    Args:
        model: any module that `torch.onnx.export` takes.
        args: its positional arguments, for example.
        path: of the file.
        kwargs: its keyword arguments, for example.
        dynamic_shapes: axes that may have another size than in the example, as in `torch.onnx.export`.
        input_names: of the graph.
        output_names: of the graph.
        opset: of the model.

    Raises:
        ValueError: a folder that is not there, or torch's exporter lacks a package.
        torch.onnx.OnnxExporterError: torch cannot export the model.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors.payloads.dense import Dense
        >>> words = CompressedEmbedding(Dense(np.array([[1, 2], [3, 4]], np.float32)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "model.onnx"
        ...     torch_to_onnx(words.eval(), (torch.tensor([1, 0]),), path, input_names=["ids"])
        ...     [node.op_type for node in onnx.load(path).graph.node]
        ['Gather']
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a folder: make it first")
    if find_spec("onnxscript") is None:
        raise ValueError(
            "torch exports to ONNX with onnxscript, which is not installed: pip install 'eigenselect[torch]'"
        )
    with warnings.catch_warnings():
        # Of torch, about its own use of itself.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        program = torch.onnx.export(
            model,
            args,
            kwargs=kwargs,
            dynamic_shapes=dynamic_shapes,
            input_names=input_names,
            output_names=output_names,
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder) / path.name
        program.save(written)
        held = (module for module in model.modules() if isinstance(module, CompressedEmbedding))
        _add_functions(written, padded=any(module.padded for module in held))
        onnx.checker.check_model(written, full_check=True)
        for file in sorted(Path(folder).iterdir(), key=lambda file: file == written):  # the weights before the model
            file.replace(path.parent / file.name)


def _add_functions(path: Path, *, padded: bool) -> None:
    """Add the bodies of our operators to the file, which may keep its weights beside it."""
    model = onnx.load_model(path, load_external_data=False)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if names := sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN}):
        model.functions.extend(operator(name, versions[""], padded=padded) for name in names)
        onnx.save_model(model, path)
