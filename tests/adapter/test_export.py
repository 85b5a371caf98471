"""The export set: exact names, keys, metadata; each file opened by each program's rules."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from sd15_adapter import same, sd15_names, small_adapter

from textreg.adapter import Adapter
from textreg.adapter.about import Facts
from textreg.adapter.consumers import CONSUMERS, Refused, cannot_hold, open_lora, open_word
from textreg.adapter.export import TARGETS, export
from textreg.adapter.lora_keys import DIFFUSERS, KOHYA
from textreg.adapter.webui_files import word_name
from textreg.errors import UserError

FACTS = Facts(
    base="stable-diffusion-v1-5", resolution=512, seed=3, steps=2000, pictures=5,
    more=(("textreg.prior", "textreg"),),
)  # fmt: skip
FILES = {
    "pytorch_lora_weights.safetensors",
    "learned_embeds.safetensors",
    "webui/krk1_lora.safetensors",
    "webui/krk1.safetensors",
    "webui/krk1_lora.json",
    "webui/krk1_lora.preview.png",
    "webui/krk1_bundle.safetensors",
    "lora_weight.safetensors",
}


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return small_adapter()


@pytest.fixture(scope="module")
def exported(adapter: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    picture = Image.new("RGB", (8, 8), "red")
    export(adapter, folder, TARGETS, FACTS, picture=picture, text_layers=12)
    return folder


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_the_files_are_those_of_the_set(exported: Path) -> None:
    there = {str(p.relative_to(exported)) for p in exported.rglob("*") if p.is_file()}
    assert there == FILES


def test_kohyas_keys_are_exact(adapter: Adapter, exported: Path) -> None:
    tensors = load_file(exported / "webui/krk1_lora.safetensors")
    names = ["lora_unet_" + name.replace(".", "_") for name in sd15_names()]
    shapes = {".lora_down.weight": (2, 6), ".lora_up.weight": (5, 2), ".alpha": ()}
    assert {key: tuple(t.shape) for key, t in tensors.items()} == {
        name + part: shape for name in names for part, shape in shapes.items()
    }
    assert {float(t) for key, t in tensors.items() if key.endswith(".alpha")} == {2.0}
    assert all(t.is_contiguous() for t in tensors.values())


def test_kohyas_metadata_is_what_its_tools_expect(exported: Path) -> None:
    path = exported / "webui/krk1_lora.safetensors"
    found = metadata(path)
    assert {k: v for k, v in found.items() if k.startswith("ss_")} == {
        "ss_v2": "False",
        # The word has 6 numbers, which is no Stable Diffusion's.
        "ss_base_model_version": "stable-diffusion-v1-5",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "2",
        "ss_network_alpha": "2.0",
        "ss_network_args": "{}",
        "ss_output_name": "krk1_lora",
        "ss_sd_model_name": "stable-diffusion-v1-5",
        "ss_resolution": "(512, 512)",
        "ss_clip_skip": "None",
        "ss_num_train_images": "5",
        "ss_num_reg_images": "0",
        "ss_tag_frequency": '{"1_krk1 teddy bear": {"krk1 teddy bear": 5}}',
        "ss_seed": "3",
        "ss_steps": "2000",
    }
    data = path.read_bytes()
    tensors = data[8 + int.from_bytes(data[:8], "little") :]
    assert found["sshs_model_hash"] == hashlib.sha256(tensors).hexdigest()
    assert found["modelspec.hash_sha256"] == f"0x{found['sshs_model_hash']}"
    assert re.fullmatch("[0-9a-f]{8}", found["sshs_legacy_hash"])
    for must in ("sai_model_spec", "architecture", "implementation", "title"):
        assert found[f"modelspec.{must}"]
    assert found["modelspec.resolution"] == "512x512"
    assert found["textreg.identifier"] == "<krk1>"
    assert found["textreg.prior"] == "textreg"


@pytest.mark.parametrize(
    ("width", "prediction", "version", "architecture", "kind"),
    [
        (768, "epsilon", "sd_v1", "stable-diffusion-v1", "SD1"),
        (1024, "epsilon", "sd_v2", "stable-diffusion-v2", "SD2"),
        (1024, "v_prediction", "sd_v2_v", "stable-diffusion-v2", "SD2"),
    ],
)
def test_programs_can_sort_it_by_its_base(
    adapter: Adapter,
    tmp_path: Path,
    width: int,
    prediction: str,
    version: str,
    architecture: str,
    kind: str,
) -> None:
    wide = replace(adapter, vector=torch.ones(width))
    export(wide, tmp_path, ["kohya"], replace(FACTS, prediction_type=prediction))
    found = metadata(tmp_path / "webui/krk1_lora.safetensors")
    assert found["ss_base_model_version"] == version
    assert found["ss_v2"] == str(width == 1024)
    assert found["modelspec.architecture"] == f"{architecture}/lora"
    assert found["modelspec.prediction_type"] == ("epsilon" if prediction == "epsilon" else "v")
    word = metadata(tmp_path / "webui/krk1.safetensors")
    assert word["modelspec.architecture"] == f"{architecture}/textual-inversion"
    notes = json.loads((tmp_path / "webui/krk1_lora.json").read_text())
    assert notes["sd version"] == kind
    assert notes["activation text"] == "krk1 teddy bear"


def test_no_file_names_a_folder_of_this_machine(exported: Path) -> None:
    for path in exported.rglob("*.safetensors"):
        assert str(exported.parent) not in json.dumps(metadata(path))


def test_each_row_is_exact_and_says_what_to_type(adapter: Adapter, exported: Path) -> None:
    rows = export(adapter, exported, TARGETS, FACTS, text_layers=12)
    assert {row.difference for row in rows} == {0.0}
    typed = {(row.opened_by.split()[0], row.file.split("/")[-1]): row.type_there for row in rows}
    lora, word = "krk1_lora.safetensors", "krk1.safetensors"
    assert typed == {
        ("diffusers", "pytorch_lora_weights.safetensors"): (
            f"pipe.load_lora_weights('{exported}')"
        ),
        ("diffusers", "learned_embeds.safetensors"): (
            f"pipe.load_textual_inversion('{exported}'); pipe('a photo of a <krk1> teddy bear')"
        ),
        ("sd-scripts", lora): "--network_module networks.lora --network_weights " + lora,
        ("sd-scripts", word): (
            f"--textual_inversion_embeddings {word} --prompt 'a photo of a krk1 teddy bear'"
        ),
        ("A1111", lora): "a photo of a krk1 teddy bear <lora:krk1_lora:1>",
        ("A1111", word): "a photo of a krk1 teddy bear",
        ("A1111", "krk1_bundle.safetensors"): "a photo of a krk1 teddy bear <lora:krk1_bundle:1>",
        ("Forge", lora): "a photo of a krk1 teddy bear <lora:krk1_lora:1>",
        ("Forge", word): "a photo of a krk1 teddy bear",
        ("ComfyUI", lora): "Load LoRA: krk1_lora.safetensors, strength_model 1",
        ("ComfyUI", word): "a photo of a embedding:krk1 teddy bear",
        ("original", "lora_weight.safetensors"): (
            f"python evaluation/sample.py --lora_ckpt {exported}/lora_weight.safetensors "
            "--prompts 'a photo of a <krk1> teddy bear'"
        ),
    }


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("file", ["webui/krk1_lora", "pytorch_lora_weights"])
def test_a_round_trip_is_exact(adapter: Adapter, tmp_path: Path, dtype: str, file: str) -> None:
    """Read from a file, written and read again: the same to the bit, and the same bytes."""
    for folder in ("one", "two"):
        adapter = replace(adapter, factors=dict(adapter.factors))
        export(adapter, tmp_path / folder, ["diffusers", "kohya"], FACTS, dtype=dtype)
        again = Adapter.load(tmp_path / folder / f"{file}.safetensors")
        assert same(again, adapter)
        adapter = again
    for path in (tmp_path / "one").rglob("*.safetensors"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_fp16_costs_what_rounding_costs(adapter: Adapter, tmp_path: Path) -> None:
    uneven = replace(adapter, factors={n: (a / 3, b / 7) for n, (a, b) in adapter.factors.items()})
    rows = export(uneven, tmp_path, ["diffusers", "a1111"], FACTS, dtype="fp16")
    lora = [row.difference for row in rows if "lora" in row.file]
    assert all(1e-5 < d < 2 * 2**-10 for d in lora if d is not None)
    assert [row.difference for row in rows if "lora" not in row.file] == [0.0] * 3
    too_large = replace(adapter, factors={n: (1e5 * a, b) for n, (a, b) in adapter.factors.items()})
    with pytest.raises(UserError, match=r"float16 cannot hold; write it with fp32"):
        export(too_large, tmp_path / "large", ["kohya"], FACTS, dtype="fp16")
    assert not (tmp_path / "large").exists()


def test_what_is_there_is_not_overwritten(adapter: Adapter, tmp_path: Path) -> None:
    path = tmp_path / "webui/krk1.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"years of work")
    with pytest.raises(UserError, match=r"krk1\.safetensors: is there already"):
        export(adapter, tmp_path, ["a1111"], FACTS)
    assert path.read_bytes() == b"years of work"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_a_file_that_came_out_wrong_is_not_passed_off(
    adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import textreg.adapter.export as module

    def wrong(*given: object, **told: object) -> bytes:
        other = replace(adapter, factors={n: (a, -b) for n, (a, b) in adapter.factors.items()})
        return right(other, *given[1:], **told)

    right = module.lora_bytes
    monkeypatch.setattr(module, "lora_bytes", wrong)
    with pytest.raises(UserError, match=r"sd-scripts .* would read another edit.*2\.0e\+00"):
        export(adapter, tmp_path, ["kohya"], FACTS)


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("<krk1>", "krk1"),
        ("sks", "sks"),
        ("<my-cat>", "my-cat"),
        ("<a/../b>", "a_b"),
        ("<>", "concept"),
        ("<con>", "con_"),
        ("<\u043a\u043e\u0442>", "\u043a\u043e\u0442"),
    ],
)
def test_words_are_names_that_every_system_allows(identifier: str, name: str) -> None:
    assert word_name(identifier) == name


def compvis_of_a1111(key: str) -> str:
    """A1111's own formula for SD1.x attention layers (873edba, extensions-builtin/Lora)."""
    if m := re.match(r"lora_unet_down_blocks_(\d+)_attentions_(\d+)_(.+)", key):
        return f"input_blocks_{1 + int(m[1]) * 3 + int(m[2])}_1_{m[3]}"
    if m := re.match(r"lora_unet_mid_block_attentions_(\d+)_(.+)", key):
        return f"middle_block_1_{m[2]}"
    m = re.match(r"lora_unet_up_blocks_(\d+)_attentions_(\d+)_(.+)", key)
    assert m
    return f"output_blocks_{int(m[1]) * 3 + int(m[2])}_1_{m[3]}"


def test_a1111_and_comfyui_mean_the_same_layers() -> None:
    """ComfyUI counts the blocks up (a125cd8, unet_to_diffusers); A1111 has a formula."""
    counted: dict[str, str] = {}
    for block in range(4):
        for layer in range(2):
            counted[f"down_blocks_{block}_attentions_{layer}"] = (
                f"input_blocks_{1 + 3 * block + layer}_1"
            )
        for layer in range(3):
            counted[f"up_blocks_{block}_attentions_{layer}"] = (
                f"output_blocks_{3 * block + layer}_1"
            )
    counted["mid_block_attentions_0"] = "middle_block_1"
    keys = [KOHYA.module(name) for name in sd15_names()]
    meant = {key: compvis_of_a1111(key) for key in keys}
    assert len(set(meant.values())) == 32
    for key, layer in meant.items():
        place, rest = key.removeprefix("lora_unet_").split("_transformer_blocks_")
        assert layer == f"{counted[place]}_transformer_blocks_{rest}"


def test_who_opens_what(adapter: Adapter, exported: Path) -> None:
    """FORMATS 1: diffusers' own names mean nothing to the web interfaces."""
    ours = load_file(exported / "pytorch_lora_weights.safetensors")
    kohya = load_file(exported / "webui/krk1_lora.safetensors")
    for program, consumer in CONSUMERS.items():
        assert len(open_lora(consumer, kohya, adapter.factors)) == 32
        assert cannot_hold(consumer, adapter.factors) is None
        if program != "diffusers":
            with pytest.raises(Refused):
                open_lora(consumer, ours, adapter.factors)
    more = {f"bundle_emb.krk1.{n}": torch.ones(1) for n in range(13)}
    for program, count in (("diffusers", 1), ("forge", 13)):
        few = dict(list(more.items())[: count - 1])
        open_lora(CONSUMERS[program], kohya | few, adapter.factors)
        some = dict(list(more.items())[:count])
        with pytest.raises(Refused, match=f"{count} keys it does not know"):
            open_lora(CONSUMERS[program], kohya | some, adapter.factors)
    without = {k: t for k, t in kohya.items() if k != KOHYA.key(sd15_names()[0], "up")}
    with pytest.raises(Refused, match="places 31 of 32"):
        open_lora(CONSUMERS["comfyui"], without, adapter.factors)


def test_a_bundle_is_the_lora_with_the_word_inside(adapter: Adapter, exported: Path) -> None:
    """Opened by A1111's rules, refused by diffusers', and read back with the identifier."""
    bundle = load_file(exported / "webui/krk1_bundle.safetensors")
    lora = load_file(exported / "webui/krk1_lora.safetensors")
    key = "bundle_emb.krk1.string_to_param.*"
    assert bundle.keys() - lora.keys() == {key}
    assert all(bundle[name].equal(tensor) for name, tensor in lora.items())
    assert bundle[key].equal(adapter.vector[None])
    word, vector = open_word(CONSUMERS["a1111"], bundle, "krk1_bundle")
    assert (word, vector.shape) == ("krk1", adapter.vector[None].shape)
    with pytest.raises(Refused):
        open_lora(CONSUMERS["diffusers"], bundle, adapter.factors)
    assert same(Adapter.load(exported / "webui/krk1_bundle.safetensors"), adapter)


def test_alpha_is_read_where_it_stands(adapter: Adapter) -> None:
    name = sd15_names()[0]
    tensors = {
        KOHYA.key(name, "down"): torch.ones(2, 6),
        KOHYA.key(name, "up"): torch.ones(5, 2),
        KOHYA.key(name, "alpha"): torch.tensor(1.0),
    }
    assert open_lora(CONSUMERS["a1111"], tensors, [name])[name][2] == 0.5
    del tensors[KOHYA.key(name, "alpha")]
    assert open_lora(CONSUMERS["a1111"], tensors, [name])[name][2] == 1.0


def test_a_word_is_the_key_or_the_files_name(adapter: Adapter) -> None:
    word = {"<krk1>": torch.ones(1, 6)}
    assert open_word(CONSUMERS["diffusers"], word, "learned_embeds")[0] == "<krk1>"
    assert open_word(CONSUMERS["comfyui"], word, "krk1")[0] == "krk1"
    with pytest.raises(Refused, match="2 tensors"):
        open_word(CONSUMERS["a1111"], word | {"<b>": torch.ones(1, 6)}, "krk1")


def test_a_base_that_a1111_cannot_hold_is_named_as_such(tmp_path: Path) -> None:
    """One layer a block: A1111 would count past it."""
    names = (
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
        "up_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k",
    )
    rows = export(small_adapter(names), tmp_path, ["a1111"], FACTS)
    assert {row.opened_by.split()[0]: row.difference for row in rows} == {
        "A1111": None,
        "Forge": 0.0,
    }
    assert rows[0].type_there == (
        "not on this base: it counts 2 layers a block, as Stable Diffusion has, and this base has 1"
    )


def test_diffusers_metadata_tells_rank_alpha_and_targets(adapter: Adapter, exported: Path) -> None:
    found = json.loads(
        metadata(exported / "pytorch_lora_weights.safetensors")["lora_adapter_metadata"]
    )
    assert found == {
        "unet.r": 2,
        "unet.lora_alpha": 2,
        "unet.target_modules": sorted(sd15_names()),
    }
    assert DIFFUSERS.key(sd15_names()[0], "down") in load_file(
        exported / "pytorch_lora_weights.safetensors"
    )
