"""A learned concept is read from every form of file, to the bit; what is not one is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sd15_adapter import same, small_adapter

from textreg.adapter import Adapter
from textreg.adapter.about import Facts, ours
from textreg.adapter.embedding_file import read_embedding
from textreg.adapter.export import export
from textreg.adapter.lora_keys import FORMS, KOHYA, KeyForm
from textreg.adapter.reading import Told, read
from textreg.errors import UserError

TEXT = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
MLP = "text_encoder.text_model.encoder.layers.0.mlp.fc1"
NAMES = (
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v",
)


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return small_adapter(NAMES)


def tensors_of(adapter: Adapter, form: KeyForm) -> dict[str, torch.Tensor]:
    return {
        form.key(name, part): matrix
        for name, (down, up) in adapter.factors.items()
        for part, matrix in (("down", down), ("up", up))
    }


def write(
    folder: Path,
    adapter: Adapter,
    tensors: dict[str, torch.Tensor],
    metadata: dict[str, str] | None = None,
) -> Path:
    """A LoRA file with the word's file beside it."""
    save_file({"<krk1>": adapter.vector[None]}, folder / "learned_embeds.safetensors")
    save_file(tensors, folder / "lora.safetensors", metadata or ours(adapter))
    (folder / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 2}')
    return folder / "lora.safetensors"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_each_form_is_read_to_the_bit(form: KeyForm, adapter: Adapter, tmp_path: Path) -> None:
    path = write(tmp_path, adapter, tensors_of(adapter, form))
    found, name = read(path, Told())
    assert name == form.name
    assert same(found, adapter)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_narrow_and_wide_files_are_read_as_float32(
    dtype: torch.dtype, adapter: Adapter, tmp_path: Path
) -> None:
    tensors = {key: t.to(dtype) for key, t in tensors_of(adapter, KOHYA).items()}
    found = Adapter.load(write(tmp_path, adapter, tensors))
    for name, (down, up) in found.factors.items():
        assert down.dtype == up.dtype == torch.float32
        assert down.equal(adapter.factors[name][0].to(dtype).float())


@pytest.mark.parametrize("alpha", [torch.tensor(1), torch.tensor([3.0]), torch.tensor(0.7).half()])
def test_kohyas_alpha_is_multiplied_in(
    alpha: torch.Tensor, adapter: Adapter, tmp_path: Path
) -> None:
    alphas = {KOHYA.key(name, "alpha"): alpha.clone() for name in NAMES}
    found = Adapter.load(write(tmp_path, adapter, tensors_of(adapter, KOHYA) | alphas))
    assert found.alpha == found.rank == 2
    for name, (_, up) in found.factors.items():
        wanted = float(alpha) / 2 * adapter.factors[name][1].double()
        torch.testing.assert_close(up.double(), wanted, rtol=1e-7, atol=0)


def test_pefts_and_diffusers_settings_tell_alpha(adapter: Adapter, tmp_path: Path) -> None:
    peft, diffusers = FORMS[-1], FORMS[0]
    path = write(tmp_path, adapter, tensors_of(adapter, peft))
    (tmp_path / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 8}')
    of_peft = Adapter.load(path)
    settings = json.dumps({"unet.r": 2, "unet.lora_alpha": 8})
    path = write(
        tmp_path, adapter, tensors_of(adapter, diffusers), {"lora_adapter_metadata": settings}
    )
    of_diffusers = Adapter.load(path)
    for name, (_, up) in adapter.factors.items():
        assert of_peft.factors[name][1].equal(4 * up)
        assert of_diffusers.factors[name][1].equal(4 * up)


def test_projections_of_other_ranks_are_filled_up_with_zeros(
    adapter: Adapter, tmp_path: Path
) -> None:
    larger = small_adapter(NAMES, rank=3)
    mixed = replace(adapter, factors=adapter.factors | {NAMES[1]: larger.factors[NAMES[1]]})
    found = Adapter.load(write(tmp_path, adapter, tensors_of(mixed, KOHYA)))
    assert found.rank == found.alpha == 3
    for name, (down, up) in mixed.factors.items():
        assert (found.factors[name][1] @ found.factors[name][0]).equal(up @ down)


def test_dead_weights_of_the_text_encoder_are_dropped(adapter: Adapter, tmp_path: Path) -> None:
    dead = {
        f"{TEXT}.lora_A.weight": torch.ones(2, 6),
        f"{TEXT}.lora_B.weight": torch.zeros(6, 2),
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.zeros(6, 2),
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(2, 6),
        "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": torch.tensor(2.0),
    }
    path = write(tmp_path, adapter, tensors_of(adapter, FORMS[0]) | dead)
    assert same(Adapter.load(path), adapter)


def test_the_legacy_file_is_read_without_its_dead_weights(tmp_path: Path) -> None:
    whole = small_adapter()
    export(whole, tmp_path, ["legacy"], Facts(base="sd"), text_layers=12)
    found, form = read(tmp_path / "lora_weight.safetensors", Told())
    assert form == "legacy"
    assert list(found.factors) == [str(n) for n in range(32)]
    named = dict(zip(whole.factors, found.factors.values(), strict=True))
    assert same(replace(found, factors=named), whole)


WORDS = {
    "diffusers": ({"<krk1>": (1, 6)}, "<krk1>"),
    "without a row": ({"<krk1>": (6,)}, "<krk1>"),
    "kohya": ({"emb_params": (1, 6)}, ""),
    "OneTrainer": ({"emp_params": (1, 6)}, ""),
    "diffusers advanced": ({"clip_l": (1, 6)}, ""),
}


@pytest.mark.parametrize("form", WORDS)
def test_each_form_of_a_words_file_is_read(form: str, tmp_path: Path) -> None:
    shapes, word = WORDS[form]
    path = tmp_path / "krk1.safetensors"
    save_file({k: torch.arange(6.0).reshape(shape) for k, shape in shapes.items()}, path)
    found = read_embedding(path)
    assert found.name == word
    assert found.vector.equal(torch.arange(6.0))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"clip_l": torch.ones(1, 6), "<a>": torch.ones(1, 8)}, "must hold one word, and holds 2"),
        ({"<a>\n<b>": torch.ones(1, 6)}, r"'<a>\\n<b>' is not a word"),
        ({"x" * 300: torch.ones(1, 6)}, "is not a word"),
    ],
)
def test_other_words_files_are_refused(
    tensors: dict[str, torch.Tensor], said: str, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=said):
        read_embedding(tmp_path / "x.safetensors")


def test_the_word_may_be_told_lie_beside_or_be_bundled(adapter: Adapter, tmp_path: Path) -> None:
    lora = tmp_path / "mine_lora.safetensors"
    save_file(tensors_of(adapter, KOHYA), lora)
    with pytest.raises(UserError, match=r"holds no word vector.*--embedding"):
        Adapter.load(lora)
    save_file({"emb_params": adapter.vector[None]}, tmp_path / "mine.safetensors")
    with pytest.raises(UserError, match=r"does not say which word it taught.*--identifier"):
        Adapter.load(lora)
    told = Told(identifier="<krk1>", noun="teddy bear")
    bare = replace(adapter, digest="")
    assert same(read(lora, told)[0], bare)
    (tmp_path / "mine.safetensors").rename(tmp_path / "other.safetensors")
    told = replace(told, embedding=tmp_path / "other.safetensors")
    assert same(read(lora, told)[0], bare)
    bundle = {"bundle_emb.<krk1>.string_to_param.*": adapter.vector[None]}
    save_file(tensors_of(adapter, KOHYA) | bundle, lora)
    assert same(read(lora, Told(noun="teddy bear"))[0], bare)


A_KEY, B_KEY = (KOHYA.key(NAMES[0], part) for part in ("down", "up"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({B_KEY: None}, "half of it is missing"),
        ({A_KEY: torch.ones(2, 6, 1, 1)}, "does not fit together"),
        ({A_KEY: torch.ones(3, 6)}, "does not fit together"),
        ({KOHYA.key(NAMES[0], "alpha"): torch.ones(2)}, "alpha .* is not one number"),
        ({f"{TEXT}.lora_B.weight": torch.ones(6, 2)}, "text_encoder.* half of it is missing"),
        ({f"{MLP}.lora_B.weight": torch.ones(6, 2)}, "also holds text_encoder"),
        ({"lora_unet_conv_in.lora_up.weight": torch.ones(6, 2)}, "also holds lora_unet_conv_in"),
        ({f"lora_unet_{NAMES[0]}.dora_scale": torch.ones(6)}, "also holds .*dora_scale"),
        ({FORMS[0].key(NAMES[0], "up"): torch.ones(5, 2)}, "twice"),
        ({FORMS[0].key(f"mid_block{NAMES[0][13:]}", "up"): torch.ones(5, 2)}, "mixes the names"),
        ({A_KEY: torch.full((2, 6), torch.nan)}, "not finite"),
        ({"\x1b[2J": torch.ones(1)}, r"also holds \\x1b\[2J"),
    ],
)
def test_what_is_no_edit_of_keys_and_values_is_refused(
    change: dict[str, torch.Tensor | None], said: str, adapter: Adapter, tmp_path: Path
) -> None:
    tensors = tensors_of(adapter, KOHYA) | change
    path = write(tmp_path, adapter, {k: t for k, t in tensors.items() if t is not None})
    with pytest.raises(UserError, match=said) as refusal:
        Adapter.load(path)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "which is not beside it"),
        ("[]", "is not a JSON object"),
        ("[" * 99_999, "is not a JSON object"),
        ('{"lora_alpha": 2, "use_dora": true}', "uses use_dora"),
        ('{"lora_alpha": 2, "use_rslora": true}', "uses use_rslora"),
        ('{"lora_alpha": 2, "alpha_pattern": {"x": 1}}', "uses alpha_pattern"),
        ('{"lora_alpha": "\\u001b"}', r"lora_alpha is '\\x1b', not a number"),
        ('{"lora_alpha": NaN}', "not a number"),
    ],
)
def test_pefts_settings_must_be_plain(
    config: str | None, said: str, adapter: Adapter, tmp_path: Path
) -> None:
    path = write(tmp_path, adapter, tensors_of(adapter, FORMS[-1]))
    if config is None:
        (tmp_path / "adapter_config.json").unlink()
    else:
        (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(UserError, match=said):
        Adapter.load(path)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"textreg.noun": "cat\x1b[2J"}, "its noun .* is not a word"),
        ({"textreg.noun": "cat" * 99}, "its noun .* is not a word"),
        ({"textreg.run": "a\nb"}, "its digest .* is not a word"),
        ({"lora_adapter_metadata": "{"}, "lora_adapter_metadata is not a JSON object"),
    ],
)
def test_hostile_metadata_is_refused(
    metadata: dict[str, str], said: str, adapter: Adapter, tmp_path: Path
) -> None:
    path = write(tmp_path, adapter, tensors_of(adapter, FORMS[0]), metadata)
    with pytest.raises(UserError, match=said) as refusal:
        Adapter.load(path)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".pkl"])
def test_a_pickled_word_is_never_opened(suffix: str, adapter: Adapter, tmp_path: Path) -> None:
    path = write(tmp_path, adapter, tensors_of(adapter, KOHYA))
    word = tmp_path / f"krk1{suffix}"
    word.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(UserError, match=rf"krk1{suffix}: a pickle.*docs/formats\.md"):
        read(path, Told(embedding=word))
