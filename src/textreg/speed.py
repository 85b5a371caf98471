"""How training runs the frozen denoiser: eagerly, compiled, or as a graph of its operators.

Eager is the reference. Only passes that gradients are taken of go another way: pictures, fixed
draws and what a prior predicts are the denoiser's own. Compiling and CUDA graphs change rounding,
so a run keeps what it began with (docs/decisions/0060); a CPU's graph, recorded by the denoiser
itself, changes nothing (docs/decisions/0079).
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from textreg.backbone import Backbone, device_of
from textreg.compiled_denoiser import Forward, compiled_denoiser
from textreg.config import Run
from textreg.cuda_graphs import Graphs, GraphsFailed, first_line, free_graphs, has_graphs
from textreg.errors import UserError
from textreg.method.attention_edit import Edited
from textreg.method.denoiser import Denoiser
from textreg.run_folder import RunFolder

Way = Literal["eager", "compile", "graph"]

_PAYS = 0.95
"""Share of the eager time from which `auto` takes graphs. A choice: below it is noise."""


def require_speed(run: Run) -> None:
    """Refuse a way that this machine has not, before anything slow.

    Raises:
        UserError: graphs on neither CUDA nor a CPU; compiling without a compiler; says what to do.
    """
    if run.speed in ("auto", "eager"):
        return
    device = device_of(run.device)
    gpu = device.type == "cuda"
    if run.speed == "graph" and not has_graphs(device):
        raise UserError(
            f"--speed graph: there are graphs on CUDA and on a CPU, and this run is on {device}; "
            "use --speed auto"
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


def chosen_way(
    run: Run, place: RunFolder, backbone: Backbone, samples: int
) -> tuple[Way, Backbone]:
    """How this run's denoiser goes, and the base whose denoiser goes so.

    Says on stderr what it chose if there was a choice.

    Args:
        run: the run.
        place: its folder; `auto` goes on with what the run began with.
        backbone: the base, eager.
        samples: in a pass of the denoiser.

    Raises:
        UserError: what is on record is no way.
    """
    began = _began(place)
    way: Way | None = began
    # A graph is of one shape, and buckets are many; an edit of other places is eager alone.
    graphs = run.tuning.placement == "cross-kv" and not run.images.buckets
    graphs = graphs and has_graphs(backbone.device)
    if run.speed != "auto":
        way = run.speed
    # One that began with graphs may go on where there are none.
    elif began in (None, "graph") and not graphs:
        way = "eager"
    # There is nothing to try: it is the eager denoiser to the last bit.
    elif began in (None, "eager") and graphs and records_itself(backbone):
        way = "graph"
    if way is not None and began not in (None, kept := on_record(way, backbone)):
        print(
            f"textreg: --speed {kept}: the run began with {began}; it goes on, but not "
            "to the very same bytes",
            file=sys.stderr,
        )
    if run.speed == "compile":
        print("textreg: compiling at the first step; it takes minutes", file=sys.stderr)
    return _probed(run, backbone, samples) if way is None else (way, with_way(backbone, way))


def on_record(way: Way, backbone: Backbone) -> Way:
    """What of a way decides a run's bytes: a base's own graphs are eager in that."""
    return "eager" if way == "graph" and records_itself(backbone) else way


def records_itself(backbone: Backbone) -> bool:
    """Whether graphs are what the base's own denoiser does, as on a CPU."""
    return backbone.device.type == "cpu"


def _began(place: RunFolder) -> Way | None:
    """The way on record, if the run has begun; of a version without the setting it is eager."""
    began = place.chosen("speed")
    if began is None:
        return "eager" if place.begun else None
    if began in get_args(Way):
        return began
    raise UserError(
        f"{place.path / 'environment.json'}: its speed is none of {', '.join(get_args(Way))}; "
        "choose another --out"
    )


def _probed(run: Run, backbone: Backbone, samples: int) -> tuple[Way, Backbone]:
    """Eager or graphs by a trial of both; graphs that win go on, others leave no memory behind."""
    way: Way = "eager"
    quick = with_way(backbone, "graph")
    try:
        eager = _seconds(run, backbone, samples)
        graph = _graph_seconds(run, quick, samples)
        way = "graph" if graph < _PAYS * eager else "eager"
        why = (
            f"the denoiser forward and backward: eager {1e3 * eager:.1f} ms, "
            f"graph {1e3 * graph:.1f} ms"
        )
    except torch.OutOfMemoryError:
        # The step itself is cut to what fits (memory_limit.py).
        why = "too little memory to try graphs"
    except GraphsFailed as error:
        why = f"graphs failed: {error.why}"
    print(f"textreg: --speed {way} ({why})", file=sys.stderr)
    if way == "graph":
        return way, quick
    del quick
    free_graphs()
    return way, backbone


def _graph_seconds(run: Run, quick: Backbone, samples: int) -> float:
    """`_seconds` of graphs.

    Raises:
        GraphsFailed: any error but too little memory.
    """
    try:
        return _seconds(run, quick, samples)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise GraphsFailed(first_line(error)) from None


def _seconds(run: Run, backbone: Backbone, samples: int, repeats: int = 8) -> float:
    """Median seconds of the denoiser forward and backward, at the shapes of a step."""
    device = backbone.device
    inputs = pass_inputs(backbone, samples, run.images.resolution)
    seconds: list[float] = []
    for _ in range(repeats + 3):
        torch.cuda.synchronize(device)
        begun = time.perf_counter()
        backbone.denoiser(*inputs).float().square().mean().backward()
        torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[3:])


def pass_inputs(
    backbone: Backbone, samples: int, side: int | None = None
) -> tuple[Tensor, Tensor, list[Tensor], Tensor | None]:
    """Random numbers in the shapes of what a step gives the denoiser.

    Args:
        backbone: whose denoiser is to be called.
        samples: in the pass.
        side: of the pictures in pixels; none: the base's own.

    Returns:
        x_t, t, keys and values that want gradients, and the pooled vectors of a family with them.
    """
    side = (side or backbone.resolution) // backbone.factor
    options: dict[str, Any] = {"device": backbone.device, "dtype": backbone.wide}
    x_t = torch.randn(samples, backbone.vae.config.latent_channels, side, side, **options)
    t = torch.zeros(samples, dtype=torch.long, device=backbone.device)
    length = backbone.tokenizer.model_max_length
    heard = [
        torch.randn(samples, length, width, **options).requires_grad_()
        for width in backbone.projections.widths
    ]
    if backbone.pair is None:
        return x_t, t, heard, None
    width = backbone.pair.encoders[1].config.projection_dim
    return x_t, t, heard, torch.randn(samples, width, **options)


def with_way(backbone: Backbone, way: Way) -> Backbone:
    """The same base, whose denoiser goes this way in training; the weights are shared.

    Where that is operator by operator, its text encoder does so as well.
    """
    if way == ("graph" if records_itself(backbone) else "eager"):
        return backbone
    plain = backbone.denoiser
    if way == "eager":
        return replace(backbone, denoiser=_Quick(plain, plain.eager), recorded_text=None)
    forward: Forward = compiled_denoiser(plain) if way == "compile" else Graphs(plain)
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
        # Activations computed twice draw on the generator's state, which a graph may not read; an
        # edit of its own attention is the eager denoiser's alone.
        if not torch.is_grad_enabled() or not self.activations_kept or edit is not None:
            return self._plain[0](x_t, t, keys_values, pooled, edit)
        return self._with_gradients(x_t, t, keys_values, pooled)

    @property
    def activations_kept(self) -> bool:
        """As the plain denoiser, whose weights these are."""
        return self._plain[0].activations_kept

    def keep_activations(self, keep: bool) -> None:
        """As the plain denoiser."""
        self._plain[0].keep_activations(keep)

    def begin_step(self) -> None:
        """Let go of what a step kept that memory ended."""
        if isinstance(self._with_gradients, Graphs):
            self._with_gradients.begin_step()

    def end_training(self) -> None:
        """Give the memory of graphs back, to those who draw or train after it."""
        if isinstance(self._with_gradients, Graphs):
            self._with_gradients.drop()
