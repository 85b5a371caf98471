"""How training runs the frozen denoiser: eagerly, compiled, or as CUDA graphs.

Eager is the reference. Only passes that gradients are taken of go another way: pictures, fixed
draws and what a prior predicts are the eager denoiser's. What changes is rounding, so a run keeps
what it began with (docs/decisions/0060).
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from textreg.backbone import Backbone, device_of
from textreg.config import Run
from textreg.errors import UserError
from textreg.method.attention_edit import Edited
from textreg.method.denoiser import Denoiser
from textreg.run_folder import RunFolder

Way = Literal["eager", "compile", "graph"]
Forward = Callable[[Tensor, Tensor, list[Tensor], Tensor | None], Tensor]

_SHAPES = 64
"""Batch shapes that are compiled: of aspect buckets, of batches that concepts left. A choice."""
_PAYS = 0.95
"""Share of the eager time from which `auto` takes graphs. A choice: below it is noise."""


def require_speed(run: Run) -> None:
    """Refuse a way that this machine has not, before anything slow.

    Raises:
        UserError: graphs without CUDA; compiling without a compiler; says what to do.
    """
    if run.speed in ("auto", "eager"):
        return
    gpu = device_of(run.device).type == "cuda"
    if run.speed == "graph" and not gpu:
        raise UserError(
            "--speed graph: CUDA graphs need a CUDA device, and this run is on the CPU; use "
            "--speed auto"
        )
    if run.speed == "compile" and gpu and find_spec("triton") is None:
        raise UserError("--speed compile: the package triton is not installed; use --speed auto")
    # torch's own rule: what CXX names, or the platform's usual one.
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if run.speed == "compile" and not gpu and shutil.which(compiler) is None:
        raise UserError(
            f"--speed compile: no C++ compiler ({compiler}) on this machine; install one, name "
            "another in the variable CXX, or use --speed auto"
        )


def chosen_way(run: Run, place: RunFolder, backbone: Backbone, concepts: int) -> Way:
    """How this run's denoiser goes; says on stderr what it chose if there was a choice.

    Args:
        run: the run.
        place: its folder; `auto` goes on with what the run began with.
        backbone: the base, eager.
        concepts: in a batch.
    """
    # A run of a version without the setting was eager.
    began = place.chosen("speed") or ("eager" if place.begun else None)
    if run.speed != "auto":
        if began not in (None, run.speed):
            print(
                f"textreg: --speed {run.speed}: the run began with {began}; it goes on, but not "
                "to the very same bytes",
                file=sys.stderr,
            )
        if run.speed == "compile":
            print("textreg: compiling at the first step; it takes minutes", file=sys.stderr)
        return run.speed
    if began is not None:
        return began
    if backbone.device.type != "cuda" or run.tuning.placement != "cross-kv":
        return "eager"
    try:
        eager, graph = (
            1e3 * _seconds(run, with_way(backbone, way), concepts) for way in ("eager", "graph")
        )
    except torch.OutOfMemoryError:
        # The step itself is cut to what fits (memory_limit.py).
        print("textreg: --speed eager (too little memory to try graphs)", file=sys.stderr)
        return "eager"
    way: Way = "graph" if graph < _PAYS * eager else "eager"
    print(
        f"textreg: --speed {way} (the denoiser forward and backward: eager {eager:.1f} ms, "
        f"graph {graph:.1f} ms)",
        file=sys.stderr,
    )
    return way


def _seconds(run: Run, backbone: Backbone, concepts: int, repeats: int = 8) -> float:
    """Median seconds of the denoiser forward and backward, at the shapes of a step."""
    samples, side = concepts * run.optimizer.batch_size, run.images.resolution
    side = (side or backbone.resolution) // backbone.factor
    device, channels = backbone.device, backbone.vae.config.latent_channels
    x_t = torch.randn(samples, channels, side, side, device=device)
    t = torch.zeros(samples, dtype=torch.long, device=device)
    length = backbone.tokenizer.model_max_length
    heard = [
        torch.randn(samples, length, width, device=device, requires_grad=True)
        for width in backbone.projections.widths
    ]
    pooled = None
    if backbone.pair is not None:
        width = backbone.pair.encoders[1].config.projection_dim
        pooled = torch.randn(samples, width, device=device)
    seconds: list[float] = []
    for _ in range(repeats + 3):
        torch.cuda.synchronize(device)
        begun = time.perf_counter()
        backbone.denoiser(x_t, t, heard, pooled).float().square().mean().backward()
        torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[3:])


def with_way(backbone: Backbone, way: Way) -> Backbone:
    """The same base, whose denoiser goes this way in training; the weights are shared."""
    if way == "eager":
        return backbone
    plain = backbone.denoiser
    forward = _compiled(plain) if way == "compile" else _Graphs(plain)
    return replace(backbone, denoiser=_Quick(plain, forward))


class _Quick(Denoiser):
    """A denoiser whose passes with gradients go another way."""

    def __init__(self, plain: Denoiser, forward: Forward):
        torch.nn.Module.__init__(self)
        self.unet, self.pixels = plain.unet, plain.pixels
        self._plain, self._with_gradients = [plain], forward

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        keys_values: list[Tensor],
        pooled: Tensor | None = None,
        edit: Edited | None = None,
    ) -> Tensor:
        """As the plain denoiser, to rounding."""
        # Activations computed twice draw on the generator's state, which a graph may not read.
        if not torch.is_grad_enabled() or self.unet.is_gradient_checkpointing:
            return self._plain[0](x_t, t, keys_values, pooled, edit)
        if edit is not None:
            raise ValueError("only the eager denoiser takes an edit of its own attention")
        return self._with_gradients(x_t, t, keys_values, pooled)


def _compiled(plain: Denoiser) -> Forward:
    """torch.compile of the whole forward pass, anew for each shape."""
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException

    config.recompile_limit = max(config.recompile_limit, _SHAPES)
    # Shapes as they are: what kernels a shape gets must not depend on the shapes before it.
    compiled: Any = torch.compile(plain.forward, fullgraph=True, dynamic=False)

    def forward(x_t: Tensor, t: Tensor, keys_values: list[Tensor], pooled: Tensor | None) -> Tensor:
        try:
            return compiled(x_t, t, keys_values, pooled)
        except TorchDynamoException as error:
            # The first line may be no more than who raised what the second says.
            why = " ".join(str(error).split("\n", 2)[:2]).strip()
            raise UserError(
                f"--speed compile: torch could not compile this denoiser ({why}); use --speed eager"
            ) from None

    return forward


class _Graphs:
    """CUDA graphs of the forward and the backward pass, a pair for each shape.

    A graph reads and writes the same memory each time, so a second pass before the first one's
    backward would overwrite what that still needs: it goes the plain way.
    """

    def __init__(self, plain: Denoiser):
        self._plain = plain
        self._made: dict[Any, Callable[..., Tensor]] = {}
        self._pending: set[Any] = set()

    def __call__(
        self, x_t: Tensor, t: Tensor, keys_values: list[Tensor], pooled: Tensor | None
    ) -> Tensor:
        given = (x_t, t, *keys_values, *(() if pooled is None else (pooled,)))
        shape = tuple((x.shape, x.dtype, x.requires_grad) for x in given)
        if shape in self._pending:
            return self._plain(x_t, t, keys_values, pooled)
        if shape not in self._made:
            self._made[shape] = self._capture(given, pooled is not None)
        prediction = self._made[shape](*given)
        if prediction.requires_grad:
            self._pending.add(shape)
            prediction.register_hook(lambda _: self._pending.discard(shape))
        return prediction

    def _capture(self, given: tuple[Tensor, ...], with_pooled: bool) -> Callable[..., Tensor]:
        def forward(x_t: Tensor, t: Tensor, *rest: Tensor) -> Tensor:
            keys_values = list(rest[:-1] if with_pooled else rest)
            return self._plain(x_t, t, keys_values, rest[-1] if with_pooled else None)

        samples = tuple(x.detach().clone().requires_grad_(x.requires_grad) for x in given)
        graphed: Any = torch.cuda.make_graphed_callables(forward, samples)
        return graphed
