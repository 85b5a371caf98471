"""diffusers and peft themselves open what we write, and we what they write."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.export import export
from textreg.adapter.lora_keys import DIFFUSERS_OLDER, DIFFUSERS_OLDEST
from textreg.backbone import Backbone
from textreg.run_pictures import check_pictures
from textreg.sampling import PictureModel, sample
from textreg.training import Training
from tiny_run import tiny_run


@pytest.fixture(scope="module")
def adapter(backbone: Backbone, tiny_base: Path, cat_pictures: Path) -> Adapter:
    """Of the tiny base, with an edit large enough to see."""
    run = tiny_run(tiny_base, Path("unused"), cat_pictures)
    (blank,) = Training(run, backbone, check_pictures(run)).adapters()
    random = torch.Generator().manual_seed(1)
    factors = {
        name: (torch.randn(a.shape, generator=random), torch.randn(b.shape, generator=random))
        for name, (a, b) in blank.factors.items()
    }
    return Adapter(
        identifier="<krk1>",
        noun="cat",
        learnable_property="object",
        vector=torch.randn(blank.vector.shape, generator=random) / 10,
        factors=factors,
        alpha=2.0,
    )


@pytest.fixture(scope="module")
def exported(adapter: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export(adapter, folder, ["diffusers", "kohya"], Facts(base="tiny"))
    return folder


@pytest.fixture
def pipe(tiny_base: Path) -> Iterator[Any]:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny_base)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def edits_in(unet: Any) -> dict[str, torch.Tensor]:
    """What peft adds to each weight."""
    return {
        name.removeprefix("base_model.model."): module.get_delta_weight(module.active_adapters[0])
        for name, module in unet.named_modules()
        if hasattr(module, "get_delta_weight") and module.lora_A
    }


def assert_same_edits(found: dict[str, torch.Tensor], adapter: Adapter) -> None:
    assert found.keys() == adapter.factors.keys()
    for name, (down, up) in adapter.factors.items():
        torch.testing.assert_close(found[name], up @ down, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "file", ["pytorch_lora_weights.safetensors", "webui/krk1_lora.safetensors"]
)
def test_diffusers_opens_both_lora_files(
    file: str, pipe: Any, exported: Path, adapter: Adapter
) -> None:
    path = exported / file
    pipe.load_lora_weights(path.parent, weight_name=path.name)
    assert_same_edits(edits_in(pipe.unet), adapter)


@pytest.mark.parametrize("form", [DIFFUSERS_OLDER, DIFFUSERS_OLDEST], ids=lambda f: f.name)
def test_old_forms_mean_to_diffusers_what_they_mean_to_us(
    form: Any, pipe: Any, adapter: Adapter, tmp_path: Path
) -> None:
    tensors = {
        form.key(name, part): matrix
        for name, (a, b) in adapter.factors.items()
        for part, matrix in (("down", a), ("up", b))
    }
    save_file(tensors, tmp_path / "old.safetensors")
    save_file({"<krk1>": adapter.vector[None]}, tmp_path / "learned_embeds.safetensors")
    pipe.load_lora_weights(tmp_path, weight_name="old.safetensors")
    found = edits_in(pipe.unet)
    assert_same_edits(found, adapter)
    ours = Adapter.load(tmp_path / "old.safetensors")
    for name, (down, up) in ours.factors.items():
        torch.testing.assert_close(found[name], up @ down, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "options"),
    [("learned_embeds.safetensors", {}), ("webui/krk1.safetensors", {"token": "<krk1>"})],
)
def test_diffusers_opens_both_words(
    file: str, options: dict[str, str], pipe: Any, exported: Path, adapter: Adapter
) -> None:
    path = exported / file
    pipe.load_textual_inversion(path.parent, weight_name=path.name, **options)
    (new,) = pipe.tokenizer.encode("<krk1>", add_special_tokens=False)
    assert pipe.text_encoder.get_input_embeddings().weight[new].equal(adapter.vector)


def test_by_folder_diffusers_draws_our_picture(
    pipe: Any, exported: Path, adapter: Adapter, backbone: Backbone
) -> None:
    from diffusers import DDIMScheduler

    pipe.load_lora_weights(exported)
    pipe.load_textual_inversion(exported)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    options: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 5.0}
    theirs = pipe(
        adapter.prompt, generator=torch.Generator().manual_seed(7), output_type="pt", **options
    ).images[0]
    (ours,) = sample(PictureModel(backbone, adapter), [adapter.prompt], seeds=[7], steps=3)
    pixels = torch.tensor(list(ours.image.tobytes())).reshape(*theirs.shape[1:], 3)
    assert (pixels.permute(2, 0, 1) - 255 * theirs).abs().max() < 1
    (plain,) = sample(PictureModel(backbone), ["a photo of a cat"], seeds=[7], steps=3)
    assert plain.image.tobytes() != ours.image.tobytes()


@pytest.mark.parametrize("alpha", [2, 8])
def test_what_peft_saves_is_read_at_its_scale(
    alpha: int, pipe: Any, adapter: Adapter, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=2, lora_alpha=alpha, target_modules=list(adapter.factors), init_lora_weights=False
    )
    model = get_peft_model(pipe.unet, config)
    model.save_pretrained(tmp_path)
    save_file({"<krk1>": adapter.vector[None]}, tmp_path / "learned_embeds.safetensors")
    ours = Adapter.load(tmp_path)
    found = edits_in(model)
    assert found.keys() == ours.factors.keys()
    for name, (down, up) in ours.factors.items():
        torch.testing.assert_close(found[name], up @ down, rtol=1e-6, atol=1e-6)
