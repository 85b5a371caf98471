"""Equal content is equal bytes."""

import itertools

import torch
from safetensors.torch import load

from textreg.adapter.tensor_file import tensor_bytes


def test_the_order_of_the_metadata_does_not_matter() -> None:
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2, 2, dtype=torch.half)}
    pairs = [("x", "1"), ("<ü>", '"'), ("y", "3")]
    written = {tensor_bytes(tensors, dict(order)) for order in itertools.permutations(pairs)}
    assert len(written) == 1
    (data,) = written
    assert int.from_bytes(data[:8], "little") % 8 == 0
    back = load(data)
    assert {name: value.tolist() for name, value in back.items()} == {
        name: value.tolist() for name, value in tensors.items()
    }
    assert back["a"].dtype == torch.half
