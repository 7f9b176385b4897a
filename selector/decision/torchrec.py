"""The choices as TorchRec names them: the arguments of an `EmbeddingBagConfig` for each table, as JSON.

https://github.com/meta-pytorch/torchrec, `torchrec.modules.embedding_configs.EmbeddingBagConfig` and the values of
`torchrec.types.DataType`. Its integers have a scale and an offset for each row, as FBGEMM's kernels do: row-wise
`minmax` of `Blockwise`. No other form has a name there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eigenselect.selector.decision.entries import ChosenEntry, TableEntry

FILE = "torchrec.json"

OTHERWISE = "TorchRec has no name for it: take it as eigenselect.CompressedEmbeddingBag, or model.onnx"


def data_type(compressor: str, parameters: dict[str, Any]) -> str | None:
    """The value of `DataType` for a candidate, from its `method_name` and settings; None where there is none.

    >>> data_type("Identity", {"dtype": "float16"}), data_type("Uniform", {"bits": 4})
    ('FP16', None)
    >>> data_type("Blockwise", {"bits": 4, "scheme": "minmax", "block": None})
    'INT4'
    """
    if compressor == "Identity":
        return {"float32": "FP32", "float16": "FP16"}[parameters["dtype"]]
    if compressor == "Blockwise" and parameters["scheme"] == "minmax" and parameters["block"] is None:
        return f"INT{parameters['bits']}"
    return None


def mapping(tables: Mapping[str, tuple[TableEntry, ChosenEntry]]) -> dict[str, Any]:
    """The content of `torchrec.json`, from the name of each table, its record and that of its choice."""
    found = []
    for name, (table, chosen) in tables.items():
        entry: dict[str, Any] = {"name": name, "num_embeddings": table.n, "embedding_dim": table.d}
        entry["data_type"] = data_type(chosen.compressor, chosen.parameters)
        entry["bits_per_value"] = round(8 * chosen.nbytes / (table.n * table.d), 3)
        found.append(entry if entry["data_type"] is not None else {**entry, "not_mapped": OTHERWISE})
    return {"embedding_bag_configs": found}
