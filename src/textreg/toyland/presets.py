"""How large and how long: the build that is shipped, and a tiny one that runs the same code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """Sizes and step counts of a build."""

    num_shards: int
    shard_size: int
    judge_steps: int
    judge_robust_steps: int
    judge_width: int
    judge_batch: int
    judge_shards: int
    judge_text_steps: int
    autoencoder_widths: tuple[int, ...]
    autoencoder_steps: int
    autoencoder_batch: int
    text_width: int
    text_layers: int
    text_steps: int
    text_batch: int
    denoiser_widths: tuple[int, ...]
    denoiser_steps: int
    denoiser_batch: int
    decoder_steps: int


PRESETS = {
    "full": Preset(
        num_shards=60,
        shard_size=2000,
        judge_steps=9000,
        judge_robust_steps=3000,
        judge_width=32,
        judge_batch=64,
        judge_shards=15,
        judge_text_steps=800,
        autoencoder_widths=(16, 32, 64),
        autoencoder_steps=16000,
        autoencoder_batch=8,
        text_width=192,
        text_layers=3,
        text_steps=900,
        text_batch=192,
        denoiser_widths=(64, 128, 176),
        denoiser_steps=7800,
        denoiser_batch=48,
        decoder_steps=1600,
    ),
    "test": Preset(
        num_shards=2,
        shard_size=100,
        judge_steps=20,
        judge_robust_steps=10,
        judge_width=8,
        judge_batch=16,
        judge_shards=1,
        judge_text_steps=10,
        autoencoder_widths=(8, 16, 16),
        autoencoder_steps=20,
        autoencoder_batch=8,
        text_width=48,
        text_layers=1,
        text_steps=20,
        text_batch=32,
        denoiser_widths=(32, 32, 32),
        denoiser_steps=20,
        denoiser_batch=16,
        decoder_steps=10,
    ),
}
