"""What all of the base's trainings share: schedule, averaged weights, exact resume, figures."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping


def learning_rate(step: int, steps: int, peak: float, warmup: int, cooldown: float) -> float:
    """Return the rate of a step: linear rise, flat, then a fall to zero over the last share.

    The flat part does not depend on `steps`, so a run may be prolonged or cut short on resume.
    """
    left = (steps - step) / max(1.0, steps * cooldown)
    return peak * min(1.0, (step + 1) / warmup, left)


class Training:
    """Modules with their optimizer and averages; `save` and the constructor make it resumable."""

    def __init__(
        self,
        folder: Path,
        name: str,
        modules: Mapping[str, nn.Module],
        *,
        steps: int,
        peak: float,
        device: str,
        warmup: int = 100,
        cooldown: float = 0.3,
        weight_decay: float = 0.01,
        average: float = 0.999,
        figures: Path | None = None,
    ) -> None:
        self.path = folder / f"{name}.safetensors"
        self.figures = figures or folder / "figures.jsonl"
        self.name, self.steps, self.peak = name, steps, peak
        self.warmup, self.cooldown, self.average = min(warmup, steps), cooldown, average
        self.modules = dict(modules)
        for module in self.modules.values():
            module.to(device).train()
        self.weights = {
            f"{key}.{name}": weight
            for key, module in self.modules.items()
            for name, weight in module.named_parameters()
        }
        self.params: list[Tensor] = list(self.weights.values())
        decayed = [p for p in self.params if p.ndim > 1]
        flat = [p for p in self.params if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": weight_decay}, {"params": flat}],
            lr=peak,
            betas=(0.9, 0.99),
            weight_decay=0.0,
            fused=device == "cpu",
        )
        # Buffers (of batch normalisation) are state too, but nothing to average.
        self.buffers = {
            f"{key}.{name}": buffer
            for key, module in self.modules.items()
            for name, buffer in module.named_buffers()
        }
        self.averages = [p.detach().clone() for p in self.params]
        self.step = 0
        self.seconds = 0.0
        self._losses: dict[str, list[Tensor]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._load(device)
        self._since, self._from, self._saved = time.monotonic(), self.step, time.monotonic()

    @property
    def done(self) -> bool:
        """Say whether all steps were taken."""
        return self.step >= self.steps

    def update(self, losses: Mapping[str, Tensor]) -> None:
        """Take one step down the summed losses; log now and then, checkpoint every two minutes."""
        rate = learning_rate(self.step, self.steps, self.peak, self.warmup, self.cooldown)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimizer.step()
        keep = min(self.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.params, 1 - keep)
        self.step += 1
        for key, loss in losses.items():
            self._losses.setdefault(key, []).append(loss.detach())
        if self.step % 100 == 0 or self.done:
            self._report(rate)
        if self.done or time.monotonic() - self._saved > 120:
            self.save()

    def _report(self, rate: float) -> None:
        spent = time.monotonic() - self._since
        means = {k: round(torch.stack(v).mean().item(), 5) for k, v in self._losses.items()}
        self._losses = {}
        row = {"part": self.name, "step": self.step, "steps": self.steps, **means, "lr": rate}
        self.note({**row, "seconds": round(self.seconds + spent, 1)})
        left = spent / max(1, self.step - self._from) * (self.steps - self.step)
        text = " ".join(f"{key} {value:.4f}" for key, value in means.items())
        line = f"{self.name} {self.step}/{self.steps} {text} {left / 60:.1f} min left"
        print(line, file=sys.stderr, flush=True)

    def note(self, row: Mapping[str, object]) -> None:
        """Append one line to the build's figures."""
        with self.figures.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def save(self) -> None:
        """Write weights, averages and the optimizer's state, whole or not at all."""
        tensors: dict[str, Tensor] = {}
        for (name, weight), mean in zip(self.weights.items(), self.averages, strict=True):
            tensors[f"weight/{name}"], tensors[f"average/{name}"] = weight.detach(), mean
            for key, value in self.optimizer.state.get(weight, {}).items():
                tensors[f"optimizer/{key}/{name}"] = value
        tensors |= {f"buffer/{name}": buffer for name, buffer in self.buffers.items()}
        seconds = self.seconds + time.monotonic() - self._since
        tensors = {key: value.contiguous() for key, value in tensors.items()}
        unfinished = self.path.with_suffix(".partial")
        save_file(tensors, unfinished, {"step": str(self.step), "seconds": f"{seconds:.1f}"})
        unfinished.replace(self.path)
        self._saved = time.monotonic()

    def _load(self, device: str) -> None:
        with safe_open(self.path, "pt", device=device) as file, torch.no_grad():
            metadata = file.metadata()
            self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
            for (name, weight), mean in zip(self.weights.items(), self.averages, strict=True):
                weight.copy_(file.get_tensor(f"weight/{name}"))
                mean.copy_(file.get_tensor(f"average/{name}"))
            for key in file.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                kind, _, rest = key.partition("/")
                if kind == "buffer":
                    self.buffers[rest].copy_(file.get_tensor(key))
                if kind == "optimizer":
                    field, _, name = rest.partition("/")
                    value = file.get_tensor(key)
                    value = value.cpu() if field == "step" else value
                    self.optimizer.state[self.weights[name]][field] = value

    def averaged(self) -> dict[str, nn.Module]:
        """Put the averaged weights into the modules and return these, ready to use."""
        with torch.no_grad():
            for param, mean in zip(self.params, self.averages, strict=True):
                param.copy_(mean)
        return {key: module.eval() for key, module in self.modules.items()}


def half_precision(device: str) -> torch.autocast:
    """Return the mixed precision of all trainings: bfloat16 on every device."""
    return torch.autocast(torch.device(device).type, torch.bfloat16)
