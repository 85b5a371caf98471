"""The frozen denoiser f(x_t, t, {K, V}): a diffusers UNet called with keys and values from outside.

Every cross-attention reads its keys and values from the call instead of computing them from text;
nothing else of what the UNet computes changes, unless the call brings an edit of attention's other
projections.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from textreg.method.attention_edit import Edited
from textreg.method.recorded_passes import RecordedPasses

# Scores a head from which the fused kernel is taken in half precision on a CPU: below, its backward
# pass takes up to eight times as long as that of plain products (benchmarks/speed/attention.py).
_FUSED_FROM = 512 * 512


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Multi-head attention, [batch, queries, heads * width] from projected q, k, v."""
    batch = query.shape[0]
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    if _half_on_cpu(query) and query.shape[2] * key.shape[2] < _FUSED_FROM:
        # Heads of one sample are multiplied where they lie: only those of several are copied.
        q, k, v = (x.flatten(0, 1) for x in (query * query.shape[-1] ** -0.5, key, value))
        seen = torch.bmm(torch.bmm(q, k.mT).softmax(-1), v).unflatten(0, (batch, heads))
    else:
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
    return seen.transpose(1, 2).reshape(batch, -1, heads * value.shape[-1])


def _normalise(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """What norm does of x; of pictures in half precision on a CPU in channels_last."""
    if x.ndim != 4 or not _half_on_cpu(x):
        return nn.GroupNorm.forward(norm, x)
    # torch's kernel for channels_last takes up to sixteen times as long there.
    return nn.GroupNorm.forward(norm, x.contiguous()).contiguous(memory_format=torch.channels_last)


def _half_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype.itemsize == 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditioning:
    """All that the denoiser hears of some prompts."""

    keys_values: list[Tensor]
    """K_1, V_1, K_2, V_2, ..., each [prompts, tokens, width of the layer]."""
    pooled: Tensor | None = None
    """One vector a prompt, [prompts, p]; none where the family has none."""

    def __getitem__(self, index: Tensor) -> Conditioning:
        return Conditioning(
            keys_values=[x[index] for x in self.keys_values],
            pooled=None if self.pooled is None else self.pooled[index],
        )

    def silent_from(self, start: int) -> Conditioning:
        """The same with zeros from a row on: features of 0 have keys and values of 0."""

        def silenced(x: Tensor) -> Tensor:
            return torch.cat([x[:start], torch.zeros_like(x[start:])])

        return Conditioning(
            keys_values=[silenced(x) for x in self.keys_values],
            pooled=None if self.pooled is None else silenced(self.pooled),
        )


def _projected(linear: Any, name: str, given: Tensor, edit: Edited | None) -> Tensor:
    result = linear(given)
    return result if edit is None else edit(name, given, result)


class SelfAttention:
    """What attn1 does; takes no notice of the text."""

    def __init__(self, name: str):
        self.name = name

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        keys_values: list[Tensor] | None = None,
        edit: Edited | None = None,
    ) -> Tensor:
        """Attend from the picture to the picture."""
        query, key, value = (
            _projected(getattr(attn, to), f"{self.name}.{to}", hidden_states, edit)
            for to in ("to_q", "to_k", "to_v")
        )
        seen = _attend(query, key, value, attn.heads)
        return _projected(attn.to_out[0], f"{self.name}.to_out.0", seen, edit)


class TextAttention:
    """What attn2 does; reads its layer's keys and values from the call."""

    def __init__(self, name: str, layer: int):
        self.name, self.layer = name, layer

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        keys_values: list[Tensor] | None = None,
        edit: Edited | None = None,
    ) -> Tensor:
        """Attend from the picture to keys and values computed outside."""
        if keys_values is None:
            raise ValueError(
                "this denoiser takes its keys and values from outside; none were given"
            )
        key, value = keys_values[2 * self.layer : 2 * self.layer + 2]
        query = _projected(attn.to_q, f"{self.name}.to_q", hidden_states, edit)
        seen = _attend(query, key, value, attn.heads)
        return _projected(attn.to_out[0], f"{self.name}.to_out.0", seen, edit)


class Denoiser(nn.Module):
    """f(x_t, t, {K, V}) over a diffusers UNet2DConditionModel, whose attention is replaced."""

    def __init__(self, unet: Any, pixels: int = 8):
        """Replace every attention, and lay the weights as the fast kernels want them.

        Args:
            unet: diffusers' UNet2DConditionModel.
            pixels: a latent number has on each side, for what Stable Diffusion XL is told of sizes.
        """
        super().__init__()
        self.pixels, self._kept = pixels, True
        # Of Apple's GPUs it has not been tried.
        tried = next(unet.parameters()).device.type in ("cpu", "cuda", "meta")
        self._layout = torch.channels_last if tried else torch.preserve_format
        for name, module in unet.named_modules():
            if name.endswith(("attn1", "attn2")) and (
                module.group_norm is not None
                or module.norm_q is not None
                or module.spatial_norm is not None
                or module.residual_connection
                or module.rescale_output_factor != 1.0
            ):
                raise ValueError(f"{name} of this denoiser normalises its queries; not supported")
        layer = 0
        # Same order as TextProjections.names: the order of modules, which differs from that of
        # attn_processors (there the middle block comes before the up blocks).
        for name, module in unet.named_modules():
            # In place of a processor: diffusers looks at a processor's signature at each call.
            if name.endswith("attn1"):
                module.forward = partial(SelfAttention(name), module)
            elif name.endswith("attn2"):
                module.forward = partial(TextAttention(name, layer), module)
                layer += 1
            elif type(module) is nn.GroupNorm:
                module.forward = partial(_normalise, module)  # type: ignore[method-assign]
        self.unet = unet.to(memory_format=self._layout)
        self.recorded = RecordedPasses("the denoiser")

    def _flat(self, with_pooled: bool, x_t: Tensor, t: Tensor, *rest: Tensor) -> Tensor:
        """`eager` of keys and values one by one, and then the pooled vector if there is one."""
        keys_values = list(rest[:-1] if with_pooled else rest)
        return self.eager(x_t, t, keys_values, rest[-1] if with_pooled else None)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        keys_values: list[Tensor],
        pooled: Tensor | None = None,
        edit: Edited | None = None,
    ) -> Tensor:
        """As `eager`, to the last bit; on a CPU recorded, where a shape comes back."""
        if x_t.device.type != "cpu" or edit is not None or not self._kept:
            return self.eager(x_t, t, keys_values, pooled, edit)
        heard = () if pooled is None else (pooled,)
        flat = partial(self._flat, pooled is not None)
        return self.recorded(flat, x_t, t, *keys_values, *heard)

    def eager(
        self,
        x_t: Tensor,
        t: Tensor,
        keys_values: list[Tensor],
        pooled: Tensor | None = None,
        edit: Edited | None = None,
    ) -> Tensor:
        """The model's prediction.

        Args:
            x_t: noisy latents, [batch, channels, height, width].
            t: timesteps, [batch].
            keys_values: K_1, V_1, K_2, V_2, ..., each [batch, tokens, width of the layer].
            pooled: the prompts' pooled vectors, [batch, p], where the family has them.
            edit: of attention's other projections; none: they are the base's.

        Returns:
            Prediction of the base's kind (noise or velocity), in the shape of x_t.
        """
        dtype = next(self.unet.parameters()).dtype  # unet.dtype looks through all of its modules
        given = [x.to(dtype) for x in keys_values]
        # The text itself is not read any more; any tensor of the right batch will do.
        return self.unet(
            x_t.to(dtype, memory_format=self._layout),
            t,
            encoder_hidden_states=given[0],
            cross_attention_kwargs={"keys_values": given, "edit": edit},
            added_cond_kwargs=None if pooled is None else self._added(x_t, pooled.to(dtype)),
            return_dict=False,
        )[0]

    @property
    def activations_kept(self) -> bool:
        """Whether a backward pass finds the activations of its forward pass.

        Known without a walk through all modules, as diffusers' own answer takes.
        """
        return self._kept

    def keep_activations(self, keep: bool) -> None:
        """Keep the activations for the backward pass; else it computes them a second time."""
        if keep:
            self.unet.disable_gradient_checkpointing()
        else:
            self.unet.enable_gradient_checkpointing()
        self._kept = keep

    def begin_step(self) -> None:
        """Told before each training step; there is nothing that one pass keeps for another."""

    def end_training(self) -> None:
        """Told after the last training step."""

    def _added(self, x_t: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Pooled vector and sizes: a whole picture of the size that is being denoised.

        Height and width before cropping, top and left of the crop, height and width wanted.

        Source: Podell et al. 2023, SDXL, section 2.2.
        """
        height, width = (side * self.pixels for side in x_t.shape[-2:])
        # Filled on the device: a CUDA graph may copy nothing from the host.
        sides = (height, width, 0, 0, height, width)
        sizes = torch.stack([pooled.new_full((), side) for side in sides])
        return {"text_embeds": pooled, "time_ids": sizes.expand(len(x_t), -1)}


def freeze(module: nn.Module) -> nn.Module:
    """Evaluation mode, no parameter with a gradient."""
    return module.eval().requires_grad_(False)
