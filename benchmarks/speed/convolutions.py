"""A frozen convolution by torch against the same packed once, and group norms by layout.

    python benchmarks/speed/convolutions.py --shapes toyland
    python benchmarks/speed/convolutions.py --shapes sd15 --dtypes bf16 --batches 1

Prints median microseconds forward and backward of each shape (decision 0080), and how much the
shapes, each as often as a pass has it, save together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from provenance import processor
from recorded import in_turns
from torch import Tensor

from textreg.method.packed_convolutions import PackedConvolution

Shape = tuple[int, int, int, int]
"""Channels in and out, positions on a side, and how often a pass has it."""

SHAPES: dict[str, list[Shape]] = {
    "toyland": [(64, 64, 16, 8), (128, 128, 8, 6), (176, 176, 4, 11), (352, 176, 4, 2)],
    # Convolutions of 3 x 3 below 32 x 32 positions: what would be packed at 512 pixels.
    "sd15": [
        *((640, 1280, 16, 1), (1280, 1280, 16, 7), (1280, 1280, 8, 12), (2560, 1280, 8, 3)),
        *((2560, 1280, 16, 2), (1920, 1280, 16, 1)),
    ],
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def last(x: Tensor) -> Tensor:
    """In channels_last."""
    return x.contiguous(memory_format=torch.channels_last)


def backward(y: Tensor, x: Tensor, gradient: Tensor) -> None:
    """The gradient of x, and y's graph kept."""
    torch.autograd.grad(y, x, gradient, retain_graph=True)


def convolution(shape: Shape, batch: int, dtype: torch.dtype, repeats: int) -> list[float]:
    """Milliseconds: forward by torch and packed, backward by torch and packed."""
    ins, outs, side, _ = shape
    weight = last(torch.randn(outs, ins, 3, 3, dtype=dtype))
    bias = torch.randn(outs, dtype=dtype)
    x = last(torch.randn(batch, ins, side, side, dtype=dtype)).requires_grad_()
    packed = PackedConvolution(weight, bias, (1, 1), x.shape)
    gradient = torch.randn_like(found := torch.conv2d(x, weight, bias, padding=1))
    still = x.detach()
    calls: list[Callable[[], object]] = [
        lambda: torch.conv2d(still, weight, bias, padding=1),
        lambda: packed.forward(still),
        lambda: backward(found, x, gradient),
        lambda: packed.backward(gradient),
    ]
    return in_turns(calls, repeats)


def group_norm(channels: int, side: int, batch: int, dtype: torch.dtype) -> list[float]:
    """Milliseconds forward: in the plain layout, in channels_last, and changed around it."""
    plain = torch.randn(batch, channels, side, side, dtype=dtype)
    x = last(plain)
    weight, bias = torch.randn(2, channels).to(dtype)
    calls: list[Callable[[], object]] = [
        lambda: torch.group_norm(plain, 16, weight, bias),
        lambda: torch.group_norm(x, 16, weight, bias),
        lambda: last(torch.group_norm(x.contiguous(), 16, weight, bias)),
    ]
    return in_turns(calls, 40)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", choices=SHAPES, default="toyland")
    parser.add_argument("--dtypes", default="fp32,bf16", help="by comma")
    parser.add_argument("--batches", default="1,4,16", help="by comma")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    print(processor())
    for name in arguments.dtypes.split(","):
        for batch in (int(n) for n in arguments.batches.split(",")):
            saved = 0.0
            for shape in SHAPES[arguments.shapes]:
                found = convolution(shape, batch, DTYPES[name], arguments.repeats)
                saved += shape[-1] * (found[0] - found[1] + found[2] - found[3])
                us = [f"{1e3 * ms:.0f}" for ms in found]
                print(f"{name}, batch {batch}, {shape[0]} to {shape[1]} at {shape[2]}:", *us)
            norm = [f"{1e3 * ms:.0f}" for ms in group_norm(64, 16, batch, DTYPES[name])]
            print(f"{name}, batch {batch}: saved {saved:.1f} ms; group norm", *norm, flush=True)


if __name__ == "__main__":
    main()
