"""An edit of the text encoder in Stable Diffusion 2 and XL: plain diffusers draws our picture."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch

from family_setting import Loaded, family_run, plain_pipeline, random_adapter
from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.diffusers_files import load_pair
from textreg.adapter.export import export
from textreg.backbone import Backbone
from textreg.config import Inversion, Tuning
from textreg.method.encoder_edit import text_names
from textreg.sampling import PictureModel, sample, scheduler_of
from tiny_run import train

# diffusers 0.42 and numpy 2 (2026-11); its Euler schedulers read a tensor as an array.
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    ),
]
PROMPT = "a photo of a <krk1> cat in the dog"


def with_text(backbone: Backbone) -> Adapter:
    random = torch.Generator().manual_seed(9)
    adapter = random_adapter(backbone, size=0.1)
    text = {
        name: (
            torch.randn(3, width, generator=random),
            0.1 * torch.randn(width, 3, generator=random),
        )
        for name, (width, _) in backbone.projections.encoders.items()
    }
    return replace(adapter, factors=adapter.factors | text)


@pytest.mark.parametrize(
    ("family", "encoders"),
    [
        ("tiny-sd2", {"text_encoder"}),
        pytest.param("tiny-sdxl", {"text_encoder", "text_encoder_2"}, marks=pytest.mark.slow),
    ],
)
def test_every_file_gives_our_picture_in_diffusers(
    family: str,
    encoders: set[str],
    base_of: Callable[[str], Path],
    in_float32: Loaded,
    tmp_path: Path,
) -> None:
    backbone = in_float32(family)
    adapter = with_text(backbone)
    assert {name.partition(".")[0] for name in text_names(adapter.factors)} == encoders
    targets = ("diffusers", "kohya", "a1111", "comfyui", "bundle")
    rows = export(adapter, tmp_path, targets, Facts(base="a base"))
    assert all(row.difference is not None and row.difference < 1e-6 for row in rows)
    bundle = Adapter.load(tmp_path / "webui" / "krk1_bundle.safetensors")
    assert bundle.vector.equal(adapter.vector)
    assert (bundle.identifier, bundle.second_width) == ("<krk1>", adapter.second_width)
    options = {"num_inference_steps": 3, "guidance_scale": 5.0, "height": 32, "width": 32}

    def ours(adapter: Adapter) -> np.ndarray:
        model = PictureModel(backbone, adapter)
        picture = next(sample(model, [PROMPT], seeds=[7], steps=3, guidance=5.0, resolution=32))
        return np.asarray(picture.image).astype(int)

    for file in ("pytorch_lora_weights", "webui/krk1_lora"):
        path = tmp_path / f"{file}.safetensors"
        pipe = plain_pipeline(base_of(family))
        pipe.load_lora_weights(path.parent, weight_name=path.name)
        if adapter.second_width:
            exec(load_pair(adapter, str(tmp_path)), {"pipe": pipe, "safetensors": safetensors})
        else:
            pipe.load_textual_inversion(tmp_path)
        pipe.scheduler = scheduler_of(backbone, "ddim")
        random = [torch.Generator().manual_seed(7)]
        theirs = np.asarray(pipe(PROMPT, generator=random, **options).images[0]).astype(int)
        again = Adapter.load(path)
        assert again.factors.keys() == adapter.factors.keys()
        assert again.encoder_rank == 3
        assert all(again.factors[name][1].equal(up) for name, (_, up) in adapter.factors.items())
        assert np.abs(ours(again) - theirs).max() <= 2
        for encoder in encoders:
            # Each encoder's edit matters.
            left = {
                name: (down, 0 * up if name.startswith(f"{encoder}.") else up)
                for name, (down, up) in adapter.factors.items()
            }
            assert np.abs(ours(replace(adapter, factors=left)) - theirs).max() > 4


def test_both_encoders_train(
    base_of: Callable[[str], Path], in_float32: Loaded, cat_pictures: Path, tmp_path: Path
) -> None:
    """All layers but the first encoder's last, whose output nothing reads."""
    backbone = in_float32("tiny-sdxl")
    run = family_run(
        base_of("tiny-sdxl"),
        tmp_path / "run",
        cat_pictures,
        inversion=Inversion(steps=1),
        tuning=Tuning(steps=2, rank=2, text_encoder_rank=2),
        prior="none",
    )
    train(run, backbone)
    adapter = Adapter.load(run.out)
    assert set(text_names(adapter.factors)) == backbone.projections.encoders.keys()
    still = {name for name in text_names(adapter.factors) if not adapter.factors[name][1].any()}
    assert still == {
        f"text_encoder.text_model.encoder.layers.2.self_attn.{to}_proj"
        for to in ("q", "k", "v", "out")
    }
