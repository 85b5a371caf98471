"""Run one of diffusers' training examples, unmodified, in this process, and time its updates.

The example's file is run as it is. What it meets is prepared before:

* torchvision's wheel is built for another torch than a CPU one; its operators are then missing and
  its import fails at the two it describes, nms and qnms. They are declared first; none is called.
* the time of each update is taken by a hook on torch's optimisers; after the last the example is
  left, so what it does at its end (saving, loading a pipeline) is not waited for.
* at matched work (`savings`) the example gets what textreg saves: a picture is encoded once, a
  frozen prompt is encoded once, and LoRA is put on the cross-attention's keys and values alone.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from training_run import Moment

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_DECLARED: list[torch.library.Library] = []


class _LastUpdateError(BaseException):
    """Leaves an example; no handler of Exception in it may catch this."""


def declare_operators() -> None:
    """Declare what torchvision's Python describes but its library could not bring."""
    if not _DECLARED:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _OPERATORS:
            if not hasattr(torch.ops.torchvision, operator.split("(")[0]):
                library.define(operator)
        _DECLARED.append(library)


def run_example(script: Path, flags: Sequence[str], updates: int, *, savings: bool) -> list[Moment]:
    """Run an example for so many updates; when each was over.

    Raises:
        RuntimeError: it ended before; with the last lines it printed.
    """
    declare_operators()
    ended: list[Moment] = []

    def after_update(*_: Any) -> None:
        ended.append(Moment.now())
        if len(ended) == updates:
            raise _LastUpdateError

    said = io.StringIO()
    kept_arguments, kept_path = sys.argv, list(sys.path)
    hook = register_optimizer_step_post_hook(after_update)
    sys.argv = [str(script), *flags]
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            _saved_work() if savings else contextlib.nullcontext(),
        ):
            runpy.run_path(str(script), run_name="__main__")
    except _LastUpdateError:
        return ended
    except (Exception, SystemExit) as error:
        tail = "\n".join(said.getvalue().splitlines()[-5:])
        raise RuntimeError(f"{script.name} failed: {error!r}\n{tail}") from error
    finally:
        hook.remove()
        sys.argv, sys.path[:] = kept_arguments, kept_path
        _forget_accelerator()
    raise RuntimeError(f"{script.name} ended after {len(ended)} of {updates} updates")


def _forget_accelerator() -> None:
    """Accelerate keeps its settings for the whole process; the next example brings its own."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@contextlib.contextmanager
def _saved_work() -> Generator[None]:
    """Encode each picture and each frozen prompt once; LoRA on cross-attention K and V alone."""
    import peft
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel

    lora: Any = peft.LoraConfig
    encode, read = AutoencoderKL.encode, CLIPTextModel.forward

    def keys_and_values(**settings: Any) -> Any:
        return lora(**(settings | {"target_modules": ["attn2.to_k", "attn2.to_v"]}))

    pictures: dict[bytes, Any] = {}
    prompts: dict[bytes, Any] = {}
    with (
        mock.patch.object(peft, "LoraConfig", keys_and_values),
        mock.patch.object(AutoencoderKL, "encode", _once(encode, pictures)),
        mock.patch.object(CLIPTextModel, "forward", _once(read, prompts)),
    ):
        yield


def _once(method: Callable[..., Any], kept: dict[bytes, Any]) -> Callable[..., Any]:
    """A model's method that is called once for each input, as long as nothing in it trains."""

    def call(model: Any, given: torch.Tensor, *rest: Any, **options: Any) -> Any:
        if any(p.requires_grad for p in model.parameters()):
            return method(model, given, *rest, **options)
        key = given.detach().cpu().float().numpy().tobytes()
        if key not in kept:
            kept[key] = method(model, given, *rest, **options)
        return kept[key]

    return call
