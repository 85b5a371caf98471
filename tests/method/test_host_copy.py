"""What the host drew goes to a GPU from pinned memory, and is not waited for."""

from typing import Any

import pytest
import torch
from torch import Tensor

from textreg.method.host_copy import on_device


def test_to_a_gpu_it_is_pinned_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its last type, as a conversion on the way would leave the pinned memory."""
    seen: list[Any] = []

    def pinned(values: Tensor) -> Tensor:
        seen.append(("pinned", values.dtype))
        return values

    plain = Tensor.to

    def moved(values: Tensor, *to: Any, **options: Any) -> Tensor:
        if to == (torch.device("cuda", 1),):
            seen.append(("moved", options))
            return values
        return plain(values, *to, **options)

    monkeypatch.setattr(Tensor, "pin_memory", pinned)
    monkeypatch.setattr(Tensor, "to", moved)
    found = on_device(torch.tensor([1, 2]), torch.device("cuda", 1), torch.float64)
    assert seen == [("pinned", torch.float64), ("moved", {"non_blocking": True})]
    assert found.dtype == torch.float64


def test_on_the_cpu_it_is_the_tensor_itself() -> None:
    values = torch.tensor([0.1, 2.0])
    assert on_device(values, torch.device("cpu")) is values
    assert torch.equal(on_device(values, values.device, torch.float64), values.double())
