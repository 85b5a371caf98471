"""A frozen convolution by torch against ours of recordings, and group norms by layout.

    python benchmarks/speed/convolutions.py --base toyland
    python benchmarks/speed/convolutions.py --base sd15 --dtypes bf16 --batches 1 --repeats 5

Prints, for each shape that is packed, or a product where it is of one position (decisions 0080 and
0083), how often a pass of the denoiser has it and median microseconds forward by torch and ours,
backward by torch and ours; then what all save together, and a group norm of 64 channels in the
plain layout, in channels_last, and with the layout changed around it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from provenance import processor
from recorded import in_turns
from torch import Tensor, nn

from textreg.backbone import DTYPES
from textreg.base_files import BaseFiles
from textreg.method.packed_convolutions import (
    PackedConvolution,
    PackedConvolutions,
    PointwiseConvolution,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from random_base import true_size

Shape = tuple[int, int, int, int]
"""Channels in and out, side of the kernel, positions on a side of the picture."""


def shapes(base: str) -> Counter[Shape]:
    """Of the convolutions that have one of ours, and how often a pass has each; 512 pixels."""
    config: Any = true_size("sd1")["unet"] if base == "sd15" else BaseFiles.of(base).config("unet")
    found: Counter[Shape] = Counter()

    def count(module: Any, given: Any) -> None:
        weight, side = module.weight, given[0].shape[-1]
        x = torch.empty(2, weight.shape[1], side, side, device="cpu")
        like = torch.empty(weight.shape, device="cpu")
        settings = (module.stride, module.padding, module.dilation, module.groups)
        if PackedConvolutions().in_place_of(x, like, None, *settings):
            found[weight.shape[1], weight.shape[0], weight.shape[2], side] += 1

    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(config)
        for module in unet.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(count)
        side, width = unet.config.sample_size, unet.config.cross_attention_dim
        text = torch.empty(1, 77, width)
        unet(torch.empty(1, 4, side, side), torch.zeros(1), encoder_hidden_states=text)
    return found


def last(x: Tensor) -> Tensor:
    """In channels_last."""
    return x.contiguous(memory_format=torch.channels_last)


def backward(y: Tensor, x: Tensor, gradient: Tensor) -> None:
    """The gradient of x, and y's graph kept."""
    torch.autograd.grad(y, x, gradient, retain_graph=True)


def convolution(shape: Shape, batch: int, dtype: torch.dtype, repeats: int) -> list[float]:
    """Milliseconds: forward by torch and ours, backward by torch and ours."""
    ins, outs, kernel, side = shape
    weight = last(torch.randn(outs, ins, kernel, kernel, dtype=dtype))
    bias = torch.randn(outs, dtype=dtype)
    x = last(torch.randn(batch, ins, side, side, dtype=dtype)).requires_grad_()
    ours = PointwiseConvolution(weight, bias)
    if kernel > 1:
        ours = PackedConvolution(weight, bias, x.shape)
    padding = kernel // 2
    gradient = torch.randn_like(found := torch.conv2d(x, weight, bias, padding=padding))
    still = x.detach()
    calls: list[Callable[[], object]] = [
        lambda: torch.conv2d(still, weight, bias, padding=padding),
        lambda: ours.forward(still),
        lambda: backward(found, x, gradient),
        lambda: ours.backward(gradient),
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
    parser.add_argument("--base", default="toyland", help="or sd15, its shapes alone")
    parser.add_argument("--dtypes", default="fp32,bf16", help="by comma")
    parser.add_argument("--batches", default="1,4,16", help="by comma")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    print(processor())
    every = shapes(arguments.base)
    for name in arguments.dtypes.split(","):
        for batch in (int(n) for n in arguments.batches.split(",")):
            saved = 0.0
            for shape, times in every.items():
                found = convolution(shape, batch, DTYPES[name], arguments.repeats)
                saved += times * (found[0] - found[1] + found[2] - found[3])
                us = [f"{1e3 * ms:.0f}" for ms in found]
                ins, outs, kernel, side = shape
                what = f"{ins} to {outs}, {kernel} x {kernel}, at {side} x {side}"
                print(f"{name}, batch {batch}, {times} of {what}:", *us)
            norm = [f"{1e3 * ms:.0f}" for ms in group_norm(64, 16, batch, DTYPES[name])]
            print(f"{name}, batch {batch}: saved {saved:.1f} ms; group norm", *norm, flush=True)


if __name__ == "__main__":
    main()
