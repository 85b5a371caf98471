"""LoRA on the text encoder: live in stage 2, by concept, in every file, and drawn by diffusers."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.export import export
from textreg.adapter.lora_keys import DIFFUSERS, KOHYA, KOHYA_XL
from textreg.adapter.model_card import write_card
from textreg.adapter.reading import Told
from textreg.adapter.text_keys import parse_text
from textreg.backbone import Backbone
from textreg.base_check import check_training
from textreg.batch import losses, noisy_batch
from textreg.concept import inspect_folder
from textreg.config import ClassImages, Images, Inversion, Optimizer, Placement, Run, Tuning
from textreg.edits import Edits
from textreg.errors import UserError
from textreg.evaluate.identifier_drift import leakage, text_drift
from textreg.importing import import_file
from textreg.method.encoder_edit import text_names
from textreg.method.text_features import encode_tokens
from textreg.priors import prior_of
from textreg.run_folder import read_record
from textreg.sampling import PictureModel, sample, scheduler_of
from textreg.training import Training
from textreg.wave_size import _bytes_kept
from tiny_run import assert_same_edit, results, tiny_run, train, train_some

# diffusers 0.42 and numpy 2 (2026-11); its Euler schedulers read a tensor as an array.
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    ),
]
PROMPT = "a photo of a <krk1> cat in the dog"
LAYER = "text_encoder.text_model.encoder.layers.0.self_attn"
NAMES = [
    f"text_encoder.text_model.encoder.layers.{layer}.self_attn.{to}_proj"
    for layer in range(2)
    for to in ("k", "v", "q", "out")
]


def encoder_factors(seed: int, size: float, rank: int = 3) -> dict[str, tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(rank, 64, generator=random),
            size * torch.randn(64, rank, generator=random),
        )
        for name in NAMES
    }


def adapter_of(backbone: Backbone, size: float = 0.1) -> Adapter:
    """Rank 2 of keys and values, rank 3 of the text encoder."""
    projections, random = backbone.projections, torch.Generator().manual_seed(1)
    factors = {
        name: (
            torch.randn(2, 64, generator=random),
            0.1 * torch.randn(width, 2, generator=random),
        )
        for name, width in zip(projections.names, projections.widths, strict=True)
    }
    return Adapter(
        identifier="<krk1>",
        noun="cat",
        learnable_property="object",
        vector=torch.randn(64, generator=random) / 10,
        factors=factors | encoder_factors(2, size),
        alpha=2.0,
    )


def run_of(base: Path, out: Path, *pictures: Path, **changes: Any) -> Run:
    settings: dict[str, Any] = {
        "inversion": Inversion(steps=1),
        "tuning": Tuning(steps=2, rank=2, text_encoder_rank=3),
        "prior": "none",
    }
    return tiny_run(base, out, *pictures, **(settings | changes))


def edits_of(backbone: Backbone, placement: Placement, concepts: int = 1) -> Edits:
    return Edits.of(backbone.projections, placement, 2, concepts, encoder_rank=3)


@torch.no_grad()
def test_each_concept_of_a_batch_is_an_encoder_with_its_edit_in_the_weights(
    backbone64: Backbone,
) -> None:
    """W + s B A in place of W in transformers' own modules, in float64, masked and not."""
    edits = edits_of(backbone64, "cross-kv", 3)
    assert edits.encoder is not None
    pairs = [encoder_factors(n, 0.05) for n in range(3)]
    for n, own in enumerate(pairs):
        edits.encoder.load_factors(n, own)
    tokens = PictureModel(backbone64, adapter_of(backbone64)).tokens([PROMPT, "a cat of the dog"])
    vector = torch.randn(1, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hidden = torch.tensor([True, False])
    for members in ([0, 1, 2], [2, 0]):
        rows = torch.tensor([0, 1] * len(members))
        ours = backbone64.encode(
            tokens.rows(rows), vector.expand(len(rows), -1), hidden[rows], edits.encoder.of(members)
        ).tokens
        for place, n in enumerate(members):
            encoder = copy.deepcopy(backbone64.text_encoder)
            parts = getattr(encoder, "text_model", encoder)
            for name, (down, up) in pairs[n].items():
                module = parts.get_submodule(name.removeprefix("text_encoder.text_model."))
                module.weight += up.double() @ down.double()
            theirs = encode_tokens(encoder, tokens, vector.expand(2, -1), hidden)
            found = ours[2 * place : 2 * place + 2]
            torch.testing.assert_close(found, theirs, rtol=0, atol=1e-12)
            base = backbone64.encode(tokens, vector.expand(2, -1), hidden).tokens
            assert (found - base).abs().max() > 1e-2


def test_gradients_are_those_of_peft(backbone64: Backbone) -> None:
    """Of A and B, on the same CLIPTextModel in float64."""
    from peft import LoraConfig, inject_adapter_in_model

    edits = edits_of(backbone64, "cross-kv")
    assert edits.encoder is not None
    pairs = encoder_factors(4, 0.1)
    edits.encoder.load_factors(0, pairs)
    tokens = PictureModel(backbone64).tokens(["a photo of a cat", "the dog in a photo"])
    weights = torch.randn(
        2, tokens.ids.shape[1], 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    ours = backbone64.encode(tokens, None, torch.zeros(2, dtype=torch.bool), edits.encoder.of([0]))
    (ours.tokens * weights).sum().backward()
    settings = LoraConfig(
        r=3, lora_alpha=3, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"]
    )
    model: Any = inject_adapter_in_model(settings, copy.deepcopy(backbone64.text_encoder))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def of(name: str, matrix: str) -> Tensor:
        inner = name.removeprefix("text_encoder.text_model.")
        (found,) = [p for n, p in trained.items() if f"{inner}.lora_{matrix}." in n]
        return found

    with torch.no_grad():
        for name, (down, up) in pairs.items():
            of(name, "A").copy_(down)
            of(name, "B").copy_(up)
    assert len(trained) == 2 * len(pairs)
    (model(input_ids=tokens.ids).last_hidden_state * weights).sum().backward()
    for name, (key, place) in edits.encoder.places.items():
        for parameter, matrix in ((edits.encoder.down[key], "A"), (edits.encoder.up[key], "B")):
            assert parameter.grad is not None
            torch.testing.assert_close(
                parameter.grad[0, place], of(name, matrix).grad, rtol=0, atol=1e-11
            )


def test_a_zero_edit_is_the_base_and_leaves_no_hook(backbone: Backbone) -> None:
    edits = edits_of(backbone, "cross-kv", 2)
    edits.initialise(0, ["one", "two"])
    assert edits.encoder is not None
    tokens = PictureModel(backbone).tokens(["a photo of a cat", "a dog"])
    hidden = torch.zeros(2, dtype=torch.bool)
    base = backbone.encode(tokens, None, hidden).tokens
    assert backbone.encode(tokens, None, hidden, edits.encoder.of([0, 1])).tokens.equal(base)
    assert all(not m._forward_hooks for m in backbone.text_encoder.modules())


def test_what_trains_is_an_exact_set(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    run = run_of(tiny_base, tmp_path, cat_pictures)
    training = Training(run, backbone, [inspect_folder(cat_pictures, settings=run.images)])
    training._enter(1)
    wanted = {"down", "up", "encoder.down.64x64", "encoder.up.64x64"}
    assert set(training.stage.parameters()) == wanted
    assert training.stage.parameters()["encoder.down.64x64"].shape == (1, len(NAMES), 3, 64)
    assert sorted(backbone.projections.encoders) == sorted(NAMES)


@pytest.mark.parametrize(
    ("prior", "placement"),
    [
        ("none", "cross-kv"),
        ("output-preservation", "cross-kv"),
        pytest.param("class-images", "full", marks=pytest.mark.slow),
    ],
)
def test_concepts_in_one_batch_are_each_alone(
    prior: str,
    placement: Placement,
    backbone64: Backbone,
    tiny_base: Path,
    cat_pictures: Path,
    dog_pictures: Path,
    tmp_path: Path,
) -> None:
    """In float64; every prior that can hold such an edit."""
    both = run_of(
        tiny_base,
        tmp_path / "both",
        cat_pictures,
        dog_pictures,
        prior=prior,
        tuning=Tuning(steps=2, rank=2, placement=placement, text_encoder_rank=3),
        # Class pictures are read like anybody's, of 32 pixels at least.
        images=Images(resolution=32 if prior == "class-images" else 16, views=2),
        class_images=ClassImages(count=2, steps=1),
        dtype="fp64",
        optimizer=Optimizer(batch_size=2),
    )
    training = train(both, backbone64)
    assert '"drift"' not in (both.out / "metrics.jsonl").read_text()
    together = training.adapters()
    for n, concept in enumerate(both.concepts):
        single = replace(both, concepts=(concept,), out=tmp_path / f"alone{n}")
        (alone,) = train(single, backbone64).adapters()
        assert text_names(alone.factors) == list(NAMES)
        assert alone.encoder_rank == 3
        assert_same_edit(together[n], alone, atol=1e-10)
        assert all(up.abs().max() > 1e-5 for _, up in alone.factors.values())


def test_the_denoising_gradient_reaches_the_encoder(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """Against finite differences of the whole loss."""
    run = run_of(tiny_base, tmp_path, cat_pictures, dtype="fp64")
    training = Training(run, backbone64, [inspect_folder(cat_pictures, settings=run.images)])
    training._enter(1)
    edits = training.edits
    assert edits.encoder is not None
    edits.encoder.load_factors(0, encoder_factors(3, 0.05))
    from textreg.randomness import Draws

    draws = [[Draws("test", 0)]]

    def loss() -> Tensor:
        batch = noisy_batch(training.latents, draws, training.stage.features(draws), backbone64)
        return losses([batch], training.projections, backbone64)[0].sum()

    loss().backward()
    up = edits.encoder.up["64x64"]
    assert up.grad is not None
    place = (0, 1, 5, 2)
    with torch.no_grad():
        ends = []
        for step in (1e-4, -2e-4):
            up[place] += step
            ends.append(float(loss()))
    assert float(up.grad[place]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-5)


def test_stopped_and_continued_is_never_stopped(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    straight, stopped = (
        run_of(tiny_base, tmp_path / name, cat_pictures) for name in ("straight", "stopped")
    )
    train(straight, backbone)
    train_some(stopped, backbone, 2)
    train(stopped, backbone)
    assert results(stopped.out) == results(straight.out)


@pytest.mark.parametrize("file", ["pytorch_lora_weights", "webui/krk1_lora"])
def test_plain_diffusers_draws_the_same_picture(
    file: str, backbone: Backbone, tiny_base: Path, tmp_path: Path
) -> None:
    adapter = adapter_of(backbone)
    export(adapter, tmp_path, ("diffusers", "kohya"), Facts(base="a base"))
    path = tmp_path / f"{file}.safetensors"
    pipe: Any = diffusers.StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(path.parent, weight_name=path.name)
    pipe.load_textual_inversion(tmp_path)
    pipe.scheduler = scheduler_of(backbone, "ddim")
    options: dict[str, Any] = {"num_inference_steps": 3, "height": 16, "width": 16}
    random = torch.Generator().manual_seed(7)
    theirs = pipe(PROMPT, guidance_scale=5.0, generator=random, output_type="pt", **options)

    def difference(model: PictureModel) -> float:
        (ours,) = sample(model, [PROMPT], seeds=[7], steps=3, resolution=16)
        pixels = torch.tensor(list(ours.image.tobytes())).reshape(16, 16, 3).permute(2, 0, 1)
        return float((pixels - 255 * theirs.images[0]).abs().max())

    assert difference(PictureModel(backbone, Adapter.load(path))) <= 2
    # The text encoder's edit matters, or the comparison would say little.
    assert difference(PictureModel(backbone, without_text(adapter))) > 4


def without_text(adapter: Adapter) -> Adapter:
    text = text_names(adapter.factors)
    return replace(adapter, factors={k: v for k, v in adapter.factors.items() if k not in text})


def test_every_program_reads_the_same_and_so_do_we(
    backbone: Backbone, tiny_base: Path, tmp_path: Path
) -> None:
    adapter = adapter_of(backbone)
    rows = export(adapter, tmp_path, ("diffusers", "kohya", "a1111", "comfyui"), Facts(base="x"))
    assert all(row.difference is None or row.difference < 1e-6 for row in rows)
    assert any("strength_clip 1" in row.type_there for row in rows)
    for file in ("pytorch_lora_weights", "webui/krk1_lora"):
        out = tmp_path / f"in-{Path(file).name}"
        again, _ = import_file(tmp_path / f"{file}.safetensors", out, Told(), base=str(tiny_base))
        assert list(again.factors) == list(adapter.factors)
        assert (again.rank, again.encoder_rank) == (2, 3)
        for name, (down, up) in adapter.factors.items():
            assert again.factors[name][0].equal(down)
            assert again.factors[name][1].equal(up)
        tuning = read_record(out)["run"]["tuning"]
        assert (tuning["placement"], tuning["text_encoder_rank"]) == ("cross-kv", 3)
        # And out again: the same bytes of tensors.
        second = Adapter.load(out)
        assert all(second.factors[k][1].equal(v[1]) for k, v in adapter.factors.items())


def test_the_originals_file_holds_it_and_gives_it_back(
    backbone: Backbone, tiny_base: Path, tmp_path: Path
) -> None:
    """As the original writes it with --train_text_encoder: k, v, q, out of each layer, fp16."""
    adapter = adapter_of(backbone)
    (row,) = export(adapter, tmp_path, ("legacy",), Facts(base="x"), text_layers=2)
    assert row.difference is not None
    assert row.difference < 1e-2
    tensors = load_file(tmp_path / "lora_weight.safetensors")
    for j, to in enumerate(("k", "v", "q", "out")):
        up = adapter.factors[f"{LAYER}.{to}_proj"][1]
        assert tensors[f"text_encoder:{j}:up"].equal(up.half())
    file = tmp_path / "lora_weight.safetensors"
    again, form = import_file(file, tmp_path / "in", Told(), base=str(tiny_base))
    assert form == "legacy"
    assert list(again.factors) == list(adapter.factors)
    assert (again.rank, again.encoder_rank) == (2, 3)
    for name, (down, up) in adapter.factors.items():
        assert again.factors[name][0].equal(down.half().float())
        assert again.factors[name][1].equal(up.half().float())


def test_it_may_learn_at_a_rate_of_its_own(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    """At 0 nothing of it moves, and all else is what it was without it; a first step is a rate."""
    plain, still, slow = (
        run_of(
            tiny_base,
            tmp_path / str(rate),
            cat_pictures,
            tuning=Tuning(
                steps=1,
                rank=2,
                max_grad_norm=0,
                text_encoder_rank=3 if rate is not None else 0,
                text_encoder_learning_rate=rate,
            ),
        )
        for rate in (None, 0.0, 1e-6)
    )
    (none,), (zero,), (small,) = (train(run, backbone).adapters() for run in (plain, still, slow))
    assert_same_edit(without_text(zero), none, atol=1e-6)
    assert not any(zero.factors[name][1].any() for name in NAMES)
    # Adam's first step is the rate, whatever the gradient.
    sizes = torch.stack([small.factors[name][1].abs().max() for name in NAMES])
    assert sizes.tolist() == pytest.approx([1e-6] * len(NAMES), rel=1e-2)
    with pytest.raises(ValueError, match="prodigy has one rate"):
        replace(slow, optimizer=Optimizer(name="prodigy"))


def test_what_peft_trains_on_the_text_encoder_is_read(
    backbone: Backbone, tiny_base: Path, tmp_path: Path
) -> None:
    """As diffusers' scripts save it with --train_text_encoder, an alpha of its own."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe: Any = diffusers.StableDiffusionPipeline.from_pretrained(tiny_base, local_files_only=True)
    layers = {}
    targets = {"unet": ["to_k", "to_q", "to_v", "to_out.0"]}
    targets |= {"text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj"]}
    for part, names in targets.items():
        model = getattr(pipe, part)
        model.add_adapter(
            LoraConfig(r=2, lora_alpha=6, init_lora_weights=False, target_modules=names)
        )
        layers[part] = get_peft_model_state_dict(model)
    kept = {
        f"{part}_lora_adapter_metadata": {"r": 2, "lora_alpha": 6, "target_modules": names}
        for part, names in targets.items()
    }
    diffusers.StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=layers["unet"],
        text_encoder_lora_layers=layers["text_encoder"],
        **kept,
    )
    adapter_of(backbone).save(tmp_path / "word")
    told = Told(
        identifier="<krk1>", noun="cat", embedding=tmp_path / "word" / "learned_embeds.safetensors"
    )
    path = tmp_path / "pytorch_lora_weights.safetensors"
    adapter, _ = import_file(path, tmp_path / "in", told, base=backbone.source)
    assert text_names(adapter.factors) == list(NAMES)
    for name in NAMES:
        inner = name.removeprefix("text_encoder.text_model.")
        parts = getattr(pipe.text_encoder, "text_model", pipe.text_encoder)
        module = parts.get_submodule(inner)
        down, up = adapter.factors[name]
        wanted = module.get_delta_weight(module.active_adapters[0])
        torch.testing.assert_close(up @ down, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("form", "key"),
    [
        (DIFFUSERS, f"{LAYER}.q_proj.lora_A.weight"),
        (KOHYA, "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight"),
        (KOHYA_XL, "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_keys_are_those_of_the_programs(form: Any, key: str) -> None:
    assert form.key(f"{LAYER}.q_proj", "down") == key
    assert parse_text(key) == (f"{LAYER}.q_proj", "down")


def test_more_keys_are_understood_than_written() -> None:
    q, second = f"{LAYER}.q_proj", f"{LAYER}.q_proj".replace("text_encoder", "text_encoder_2")
    assert parse_text(f"{q}.lora_linear_layer.up.weight".replace("text_model.", "")) == (q, "up")
    assert parse_text(f"{q}.lora.down.weight") == (q, "down")
    kohya = "lora_te2_text_model_encoder_layers_0_self_attn_q_proj"
    assert parse_text(f"{kohya}.alpha") == (second, "alpha")
    assert KOHYA_XL.key(second, "up") == f"{kohya}.lora_up.weight"
    assert parse_text(kohya.replace("self_attn_q_proj", "mlp_fc1") + ".alpha") is None


@pytest.mark.parametrize("prior", ["textreg", "context", "weight-decay", "gated"])
def test_priors_of_text_alone_are_refused(prior: str) -> None:
    run = run_of(Path("b"), Path("o"), Path("cat"), prior=prior)
    with pytest.raises(UserError, match=f"^--text-encoder-rank 3: prior {prior} .*--prior "):
        prior_of(run)


@pytest.mark.parametrize(
    ("flag", "changes"),
    [
        ("--text-encoder-rank", {"text_encoder_rank": 65}),
        # This base's text side is 64 wide, its narrowest self-attention 16.
        ("--rank", {"rank": 17, "placement": "self"}),
    ],
)
def test_a_rank_that_does_not_fit_is_refused_by_the_layers_it_is_for(
    flag: str, changes: dict[str, Any], tiny_base: Path, cat_pictures: Path
) -> None:
    run = run_of(tiny_base, Path("o"), cat_pictures, tuning=Tuning(**changes))
    largest = 64 if flag == "--text-encoder-rank" else 16
    with pytest.raises(UserError, match=rf"^{flag}: rank \d+ is too large .* {largest}$"):
        check_training(run, [inspect_folder(cat_pictures, settings=run.images)])


def test_memory_counts_what_the_edit_keeps(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path
) -> None:
    run = run_of(tiny_base, Path(), cat_pictures)
    plain = replace(run, tuning=replace(run.tuning, text_encoder_rank=0))
    assert _bytes_kept(run, backbone) > _bytes_kept(plain, backbone)


def test_measures_of_the_word_read_it_as_the_edit_does(backbone64: Backbone) -> None:
    """With the edit in the weights of a copy, and with hooks: the same numbers."""
    adapter = adapter_of(backbone64)
    encoder = copy.deepcopy(backbone64.text_encoder)
    parts = getattr(encoder, "text_model", encoder)
    with torch.no_grad():
        for name in NAMES:
            down, up = adapter.factors[name]
            module = parts.get_submodule(name.removeprefix("text_encoder.text_model."))
            module.weight += up.double() @ down.double()
    merged = PictureModel(replace(backbone64, text_encoder=encoder), without_text(adapter))
    prompts, plain = ["a photo of a <krk1> cat in the photo"], ["a photo of a cat in the photo"]

    def measures(model: PictureModel) -> list[float]:
        found = leakage(model, prompts, masked=False, seed=0)
        return [*text_drift(model, prompts, plain).tolist(), *found.change, *found.attention]

    live = measures(PictureModel(backbone64, adapter))
    assert live == pytest.approx(measures(merged), rel=1e-9)
    assert live != pytest.approx(
        measures(PictureModel(backbone64, without_text(adapter))), rel=0.01
    )


def test_the_card_says_what_is_edited(
    backbone: Backbone, tiny_base: Path, cat_pictures: Path, tmp_path: Path
) -> None:
    write_card(tmp_path, run_of(tiny_base, tmp_path, cat_pictures), adapter_of(backbone), [])
    said = "values, and a rank-3 edit of the text encoder's attention."
    assert said in (tmp_path / "README.md").read_text()


def test_the_default_leaves_a_runs_name_as_it_was() -> None:
    run = run_of(Path("b"), Path("o"), Path("cat"), tuning=Tuning(steps=2, rank=2))
    assert "text_encoder_rank" not in json.dumps(run.identity())
    other = replace(run, tuning=replace(run.tuning, text_encoder_rank=3))
    assert other.digest != run.digest
