"""safetensors files a block at a time: to the byte what the library writes, and read back by it and by us."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from eigenselect.compressors.data import arrays, tensor_file
from eigenselect.compressors.data.tensor_file import TYPES, load_arrays, save_arrays

pytestmark = pytest.mark.quick

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
ARRAYS = st.dictionaries(
    st.text("ab.ä", min_size=1, max_size=3), st.tuples(st.sampled_from([*TYPES.values()]), SHAPES), max_size=4
)


@settings(max_examples=40, deadline=None)
@given(ARRAYS, st.text(max_size=5))
def test_files_are_those_of_the_library(tmp_path_factory, described, text):
    folder: Path = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    given_ = {name: rng.integers(0, 2, shape).astype(code) for name, (code, shape) in described.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_file, "BLOCK_BYTES", 3)
        save_arrays(given_, folder / "ours", {"payload": text})
    save_file(given_, folder / "theirs", {"payload": text})
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()


def test_large_arrays_are_mapped(tmp_path, monkeypatch):
    made = {"a": np.arange(12, dtype=np.float32).reshape(4, 3), "b": np.arange(3, dtype=np.uint8)}
    turned = {"a": np.asfortranarray(made["a"]), "b": made["b"].astype(">u2").astype(np.uint8)[::1]}
    save_arrays(turned, tmp_path / "file", {"x": "y"})
    monkeypatch.setattr(arrays, "IN_MEMORY", 5)
    found, metadata = load_arrays(tmp_path / "file")
    assert isinstance(found["a"], np.memmap) and not isinstance(found["b"], np.memmap) and metadata == {"x": "y"}
    for each in (found, load_file(tmp_path / "file")):
        for name, array in made.items():
            np.testing.assert_array_equal(each[name], array, strict=True)


def test_a_type_that_the_format_does_not_have_is_named(tmp_path):
    with pytest.raises(ValueError, match="a is complex64: a payload file holds bool, uint8"):
        save_arrays({"a": np.zeros(2, np.complex64)}, tmp_path / "file", {})
