"""LoRA on other attention projections: inside the denoiser, by concept, and in every file."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import diffusers
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from textreg import config
from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.export import export
from textreg.adapter.lora_keys import FORMS, KOHYA, parse
from textreg.adapter.model_card import write_card
from textreg.adapter.reading import Told
from textreg.backbone import Backbone
from textreg.base_configs import CONFIGS
from textreg.config import Inversion, Optimizer, Run, Tuning
from textreg.edits import Edits
from textreg.errors import UserError
from textreg.evaluate import epsilon_drift
from textreg.evaluate.epsilon_drift import EpsilonDrift
from textreg.importing import import_file
from textreg.method import attention_edit
from textreg.method.attention_edit import Placement, attention_shapes, placed, placement_of
from textreg.method.text_projections import TextProjections
from textreg.priors import prior_of
from textreg.run_record import read_record
from textreg.sampling import PictureModel, sample, scheduler_of
from textreg.wave_size import _bytes_kept
from tiny_run import assert_same_edit, results, tiny_run, train, train_some

# diffusers 0.42 and numpy 2 (2026-11); its Euler schedulers read a tensor as an array.
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    ),
]
PLACEMENTS: tuple[Placement, ...] = get_args(Placement)
ELSEWHERE: tuple[Placement, ...] = ("self", "cross+self", "full")
PROMPT = "a photo of a <krk1> cat in the dog"
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0"


def random_factors(
    projections: TextProjections, placement: Placement, seed: int, size: float = 1.0
) -> dict[str, tuple[Tensor, Tensor]]:
    """Rank 2, by name."""
    random = torch.Generator().manual_seed(seed)
    shapes = {
        name: (width, projections.features)
        for name, width in zip(projections.names, projections.widths, strict=True)
    } | projections.elsewhere
    return {
        name: (
            torch.randn(2, shapes[name][1], generator=random),
            size * torch.randn(shapes[name][0], 2, generator=random),
        )
        for name in placed(shapes, placement)
    }


def adapter_of(backbone: Backbone, placement: Placement, size: float = 0.1) -> Adapter:
    factors = random_factors(backbone.projections, placement, 1, size)
    vector = torch.randn(64, generator=torch.Generator().manual_seed(2)) / 10
    return Adapter(
        identifier="<krk1>",
        noun="cat",
        learnable_property="object",
        vector=vector,
        factors=factors,
        alpha=2.0,
    )


def run_of(base: Path, out: Path, *pictures: Path, placement: Placement, **changes: Any) -> Run:
    settings: dict[str, Any] = {
        "inversion": Inversion(steps=1),
        "tuning": Tuning(steps=2, rank=2, placement=placement),
        "prior": "none",
    }
    return tiny_run(base, out, *pictures, **(settings | changes))


@pytest.fixture
def pipeline(tiny_base: Path) -> Iterator[Any]:
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_settings_and_method_name_the_same_placements() -> None:
    assert get_args(config.Placement) == get_args(attention_edit.Placement)


@pytest.mark.parametrize(
    ("size", "counts"), [("sd1", (32, 64, 96, 128)), ("sdxl", (140, 280, 420, 560))]
)
def test_a_placement_is_an_exact_set_of_projections(size: str, counts: tuple[int, ...]) -> None:
    """Of the true sizes, by the packaged configurations."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(
            UNet2DConditionModel.load_config(CONFIGS / size / "unet")
        )
    linear = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear) and (".attn1." in name or ".attn2." in name)
    ]
    assert tuple(len(placed(linear, p)) for p in PLACEMENTS) == counts
    assert set(placed(linear, "full")) == set(linear)
    names = TextProjections.from_denoiser(unet).names
    assert sorted([*names, *attention_shapes(unet)]) == sorted(linear)
    assert placed(linear, "cross-kv") == list(names)
    assert all(".attn1." in name for name in placed(linear, "self"))
    assert [placement_of(placed(linear, p)) for p in PLACEMENTS] == list(PLACEMENTS)
    # Any part of a placement is named by the smallest that has it all.
    assert placement_of([f"{LAYER}.attn2.to_q"]) == "full"
    assert placement_of([f"{LAYER}.attn1.to_out.0"]) == "self"


@pytest.mark.parametrize("placement", ELSEWHERE)
@torch.no_grad()
def test_each_concept_of_a_batch_is_a_unet_with_its_edit_in_the_weights(
    placement: Placement, backbone64: Backbone, tiny_base: Path
) -> None:
    """Against diffusers' own UNet, W + s B A in place of W, in float64."""
    random = torch.Generator().manual_seed(0)
    projections = backbone64.projections
    edits = Edits.of(projections, placement, 2, concepts=3, scale=0.25)
    pairs = [random_factors(projections, placement, n, 0.05) for n in range(3)]
    for n, own in enumerate(pairs):
        edits.load(n, projections.names, own)
        again = edits.factors(n, projections.names)
        assert all(again[name][1].equal(own[name][1].double()) for name in own)
    text, x_t = (
        torch.randn(shape, generator=random, dtype=torch.float64)
        for shape in ((3, 2, 5, 64), (6, 4, 8, 8))
    )
    t = torch.tensor([3, 500, 20, 7, 999, 40])
    model = edits.put_in(projections)
    for members in ([0, 1, 2], [2, 0]):
        rows = [2 * n + s for n in members for s in range(2)]
        given = [values[rows] for values in model(text)]
        attention = model.attention.of(members)
        ours = backbone64.denoiser(x_t[rows], t[rows], given, None, attention)
        for place, n in enumerate(members):
            unet = UNet2DConditionModel.from_pretrained(
                tiny_base, subfolder="unet", torch_dtype=torch.float64
            )
            for name, (down, up) in pairs[n].items():
                unet.get_submodule(name).weight += up.double() @ down.double()
            own = rows[2 * place : 2 * place + 2]
            theirs = unet(x_t[own], t[own], text[n], return_dict=False)[0]
            found = ours[2 * place : 2 * place + 2]
            torch.testing.assert_close(found, theirs, rtol=0, atol=1e-12)
            base = backbone64.denoiser(x_t[own], t[own], projections(text[n : n + 1]))
            assert (found - base).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("placement", "prior"),
    [("full", "none"), pytest.param("self", "output-preservation", marks=pytest.mark.slow)],
)
def test_concepts_in_one_batch_are_each_alone(
    placement: Placement,
    prior: str,
    backbone64: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
) -> None:
    """In float64, as in test_trainer.py; what trains is the placement and nothing else."""
    both = run_of(
        tiny_base,
        tmp_path / "both",
        cat_pictures,
        dog_pictures,
        placement=placement,
        prior=prior,
        dtype="fp64",
        optimizer=Optimizer(batch_size=2),
    )
    training = train(both, backbone64)
    assert training.text_shift is None, "read of the default placement alone"
    assert '"drift"' not in (both.out / "metrics.jsonl").read_text()
    together = training.adapters()
    for n, concept in enumerate(both.concepts):
        single = replace(both, concepts=(concept,), out=tmp_path / f"alone{n}")
        (alone,) = train(single, backbone64).adapters()
        every = [*backbone64.projections.names, *backbone64.projections.elsewhere]
        assert list(alone.factors) == placed(every, placement)
        assert_same_edit(together[n], alone, atol=1e-10)
        assert all(up.abs().max() > 1e-4 for _, up in alone.factors.values())


@pytest.mark.parametrize("placement", [pytest.param("self", marks=pytest.mark.slow), "full"])
def test_stopped_and_continued_is_never_stopped(
    placement: Placement, backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    straight, stopped = (
        run_of(tiny_base, tmp_path / name, cat_pictures, placement=placement)
        for name in ("straight", "stopped")
    )
    train(straight, backbone)
    train_some(stopped, backbone, 2)
    train(stopped, backbone)
    assert results(stopped.out) == results(straight.out)


@pytest.mark.parametrize("placement", ELSEWHERE)
@pytest.mark.parametrize("file", ["pytorch_lora_weights", "webui/krk1_lora"])
def test_plain_diffusers_draws_the_same_picture(
    placement: Placement, file: str, backbone: Backbone, pipeline: Any, tmp_path: Path
) -> None:
    adapter = adapter_of(backbone, placement)
    export(adapter, tmp_path, ("diffusers", "kohya"), Facts(base="a base"))
    path = tmp_path / f"{file}.safetensors"
    pipeline.load_lora_weights(path.parent, weight_name=path.name)
    pipeline.load_textual_inversion(tmp_path)
    pipeline.scheduler = scheduler_of(backbone, "ddim")
    options: dict[str, Any] = {"num_inference_steps": 3, "height": 16, "width": 16}
    random = torch.Generator().manual_seed(7)
    theirs = pipeline(PROMPT, guidance_scale=5.0, generator=random, output_type="pt", **options)

    def difference(model: PictureModel) -> float:
        (ours,) = sample(model, [PROMPT], seeds=[7], steps=3, resolution=16)
        pixels = torch.tensor(list(ours.image.tobytes())).reshape(16, 16, 3).permute(2, 0, 1)
        return float((pixels - 255 * theirs.images[0]).abs().max())

    assert difference(PictureModel(backbone, Adapter.load(path))) < 1
    # The edit matters, or the comparison would say little.
    none = {name: (down, torch.zeros_like(up)) for name, (down, up) in adapter.factors.items()}
    assert difference(PictureModel(backbone, replace(adapter, factors=none))) > 4


@pytest.mark.parametrize("placement", ELSEWHERE)
def test_every_program_reads_the_same_and_so_do_we(
    placement: Placement, backbone: Backbone, tiny_base: Path, tmp_path: Path
) -> None:
    adapter = adapter_of(backbone, placement)
    rows = export(adapter, tmp_path, ("diffusers", "kohya", "a1111", "comfyui"), Facts(base="x"))
    assert all(row.difference is None or row.difference < 1e-6 for row in rows)
    for file in ("pytorch_lora_weights", "webui/krk1_lora"):
        out = tmp_path / f"in-{Path(file).name}"
        again, _ = import_file(tmp_path / f"{file}.safetensors", out, Told(), base=str(tiny_base))
        assert again.factors.keys() == adapter.factors.keys()
        for name, (down, up) in adapter.factors.items():
            assert again.factors[name][0].equal(down)
            assert again.factors[name][1].equal(up)
        assert read_record(out)["run"]["tuning"]["placement"] == placement
    with pytest.raises(UserError, match=r"--to legacy: .* this edit is of more"):
        export(adapter, tmp_path, ("legacy",), Facts(base="x"))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_forms_names_are_found_again(form: Any, backbone: Backbone) -> None:
    for name in [*backbone.projections.names, *backbone.projections.elsewhere]:
        assert parse(form.key(name, "down")) == (form, name, "down")
    assert KOHYA.key(f"{LAYER}.attn1.to_out.0", "up") == (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up.weight"
    )


def test_what_peft_trains_on_all_of_attention_is_read(
    backbone: Backbone, pipeline: Any, tmp_path: Path
) -> None:
    """The usual settings of diffusers' LoRA scripts."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    settings = LoraConfig(
        r=2,
        lora_alpha=2,
        init_lora_weights=False,
        target_modules=["to_k", "to_q", "to_v", "to_out.0"],
    )
    pipeline.unet.add_adapter(settings)
    layers = get_peft_model_state_dict(pipeline.unet)
    diffusers.StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=layers)
    adapter_of(backbone, "self").save(tmp_path / "word")
    told = Told(
        identifier="<krk1>", noun="cat", embedding=tmp_path / "word" / "learned_embeds.safetensors"
    )
    adapter, _ = import_file(
        tmp_path / "pytorch_lora_weights.safetensors", tmp_path / "in", told, base=backbone.source
    )
    assert placement_of(adapter.factors) == "full"
    for name, (down, up) in adapter.factors.items():
        module = pipeline.unet.get_submodule(name)
        wanted = module.get_delta_weight(module.active_adapters[0])
        torch.testing.assert_close(up @ down, wanted, rtol=1e-6, atol=1e-6)


def test_its_drift_is_measured_and_grows_with_the_edit(
    backbone64: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Self-attention alone moves every prompt, the empty one too; `textreg evaluate` sees it."""
    monkeypatch.setattr(epsilon_drift, "_STEPS", 2)
    drift = EpsilonDrift(PictureModel(backbone64), ["a dog", ""], num_timesteps=2)
    small, large = (
        drift.each(PictureModel(backbone64, adapter_of(backbone64, "self", size)))
        for size in (1e-3, 1e-2)
    )
    assert (large / small).tolist() == pytest.approx([100, 100], rel=0.2)


def test_an_edit_of_less_than_a_placement_is_refused(backbone: Backbone) -> None:
    adapter = adapter_of(backbone, "full")
    missing = next(name for name in adapter.factors if name.endswith("attn1.to_out.0"))
    fewer = {name: pair for name, pair in adapter.factors.items() if name != missing}
    with pytest.raises(UserError, match=f"does not fit the base .* at {missing}"):
        PictureModel(backbone, replace(adapter, factors=fewer))


@pytest.mark.parametrize("prior", ["textreg", "context", "weight-decay", "gated"])
def test_priors_of_text_alone_are_refused(prior: str) -> None:
    run = run_of(Path("b"), Path("o"), Path("cat"), placement="cross+self", prior=prior)
    with pytest.raises(UserError, match=f"^--placement cross\\+self: prior {prior} .*--prior "):
        prior_of(run)


def test_a_rank_that_does_not_fit_is_refused(backbone: Backbone) -> None:
    smallest = min(min(shape) for shape in backbone.projections.elsewhere.values())
    with pytest.raises(UserError, match=rf"--rank: rank \d+ is too large .* {smallest}$"):
        Edits.of(backbone.projections, "self", smallest + 1)


def test_memory_counts_what_edits_within_the_denoiser_keep(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path
) -> None:
    plain, full = (
        _bytes_kept(run_of(tiny_base, Path(), cat_pictures, placement=p), backbone)
        for p in ("cross-kv", "full")
    )
    assert full > plain


def test_the_card_says_what_is_edited(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = run_of(tiny_base, tmp_path, cat_pictures, placement="full")
    write_card(tmp_path, run, adapter_of(backbone, "full"), [])
    assert "a rank-2 edit of all of the attention." in (tmp_path / "README.md").read_text()


def test_the_default_leaves_a_runs_name_as_it_was() -> None:
    run = run_of(Path("b"), Path("o"), Path("cat"), placement="cross-kv")
    assert "placement" not in run.identity()["tuning"]
    other = replace(run, tuning=replace(run.tuning, placement="self"))
    assert other.digest != run.digest
