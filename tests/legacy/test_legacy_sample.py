"""The documented sampling command: pictures, grids, names, and what is refused."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from seed_commands import FILES, RUN, SAMPLING, words_of

from refusal import refusal
from textreg.backbone import Backbone
from textreg.legacy import sample
from textreg.sampling import Picture, PictureModel

# diffusers 0.42 and numpy 2 (2026-11); its Euler schedulers read a tensor as an array.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


@pytest.fixture(autouse=True)
def inside(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where the training command was run."""
    monkeypatch.chdir(trained)


def test_sampling_writes_pictures_and_grids(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(
        trained / RUN / "lora_weight_s4.safetensors",
        trained / RUN / "lora_weight_s2000.safetensors",
    )
    script, *words = words_of(SAMPLING)
    assert script == "evaluation/sample.py"
    assert sample.main([*words, "--n_step=2", "--batch_size=3"]) == 0
    (out,) = (trained / RUN).glob("samples_*")
    assert sorted(p.name for p in (out / "samples").iterdir()) == [
        f"{n:05}_photo_of_a_krk1_cat_swimming_in_a_pool.png" for n in range(10)
    ]
    assert sorted(p.name for p in (out / "grids").iterdir()) == [
        "00000-00008.png",
        "00009-00009.png",
    ]
    assert len({p.read_bytes() for p in (out / "samples").iterdir()}) == 10
    assert "10 pictures" in capsys.readouterr().out


def test_each_picture_has_its_own_seed(trained: Path, tmp_path: Path) -> None:
    words = ["--lora_ckpt", str(RUN), "--n_step=2"]
    several = [*words, "--prompts=a <krk1> cat; a cat", "--n_img=2", f"--outdir={tmp_path / 'a'}"]
    single = [*words, "--prompts=a cat", "--n_img=1", "--seed=3", f"--outdir={tmp_path / 'b'}"]
    assert sample.main(several) == 0
    assert sample.main(single) == 0
    names = sorted((tmp_path / "a").glob("*/samples/*"))
    assert [p.name for p in names] == [
        "00000_a_krk1_cat.png",
        "00001_a_krk1_cat.png",
        "00002_a_cat.png",
        "00003_a_cat.png",
    ]
    (alone,) = (tmp_path / "b").glob("*/samples/*")
    with Image.open(names[3]) as fourth, Image.open(alone) as same:
        differences = [abs(a - b) for a, b in zip(fourth.tobytes(), same.tobytes(), strict=True)]
    assert max(differences) <= 1  # another batch rounds differently


DEFAULTS = {
    "prompts": ["a <krk1> cat"] * 10,
    "seeds": range(10),
    "steps": 50,
    "guidance": 5.0,
    "sampler": "euler-ancestral",
    "batch_size": 5,
}
ONCE = {"prompts": ["a <krk1> cat"], "seeds": range(1)}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {}),
        (["--n_img=1"], ONCE),
        (["--n_img=1", "--seed=7"], ONCE | {"seeds": range(7, 8)}),
        (["--n_step=20"], {"steps": 20}),
        (["--batch_size=3"], {"batch_size": 3}),
        (["--filter_crossattn_str=cross"], {}),
        (
            ["--n_img=2", "--prompts= a cat;; a dog ;"],
            {"prompts": ["a cat"] * 2 + ["a dog"] * 2, "seeds": range(4)},
        ),
        (
            ["--n_img=1", "--from_file=prompts.txt"],
            {"prompts": ["a cat", "a; dog"], "seeds": range(2)},
        ),
    ],
)
def test_each_flag_changes_what_it_names(
    tmp_path: Path,
    trained: Path,
    backbone: Backbone,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    changed: dict[str, Any],
) -> None:
    given: dict[str, Any] = {}

    def draw(model: PictureModel, prompts: list[str], **settings: Any) -> Iterator[Picture]:
        given.update(settings, prompts=prompts, edited=model.adapter is not None)
        for prompt, seed in zip(prompts, settings["seeds"], strict=True):
            yield Picture(prompt=prompt, seed=seed, image=Image.new("RGB", (2, 2)))

    monkeypatch.setattr("textreg.sampling.sample", draw)
    monkeypatch.setattr("textreg.backbone.load", lambda source, revision=None: backbone)
    (trained / "prompts.txt").write_text(" a cat \n\na; dog\n")
    if not {word.split("=")[0] for word in words} & {"--prompts", "--from_file"}:
        words = ["--prompts=a <krk1> cat", *words]
    assert sample.main([f"--lora_ckpt={RUN}", f"--outdir={tmp_path / 'new/out'}", *words]) == 0
    assert given == DEFAULTS | {"edited": True} | changed
    (out,) = (tmp_path / "new/out").glob("samples_*")
    assert len(list((out / "samples").iterdir())) == len(given["prompts"])
    assert sample.main([f"--outdir={tmp_path / 'base'}", *words]) == 0
    assert given == DEFAULTS | {"edited": False} | changed


RUN_WORDS = ["--lora_ckpt={run}", "--prompts=a <krk1> cat"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lora_ckpt=none/lora_weight.safetensors", "--prompts=a"], "no such file"),
        (["--lora_ckpt={run}/lora_weight_s9.safetensors", "--prompts=a"], "the newest there is"),
        (["--lora_ckpt={run}/weights.pt", "--prompts=a"], "pickle"),
        (["--lora_ckpt=custom_datasets", "--prompts=a"], "holds no finished concept"),
        (["--lora_ckpt=", "--prompts=a"], "--lora_ckpt: is empty"),
        (["--lora_ckpt={run}"], "one of the arguments --prompts --from_file is required"),
        (["--lora_ckpt={run}", "--prompts=a", "--from_file=b"], "not allowed with"),
        (["--lora_ckpt={run}", "--prompts= ; "], "--prompts is empty"),
        (["--lora_ckpt={run}", f"--prompts={'a ' * 22}<krk1> cat"], "'<krk1>' is cut off"),
        (["--lora_ckpt={run}", "--from_file=none.txt"], "none.txt"),
        (["--lora_ckpt={run}", "--from_file={run}/weights.pt"], "no prompt in it"),
        *[([*RUN_WORDS, f"--{n}=0"], f"--{n} is 0") for n in ("n_img", "n_step", "batch_size")],
        *[([*RUN_WORDS, f"--{n}=-1"], f"--{n}: '-1'") for n in ("n_img", "n_step", "batch_size")],
        ([*RUN_WORDS, "--n_step=1001"], "--n_step is 1001; this base has 1000 at most"),
        ([*RUN_WORDS, "--seed=1.5"], "--seed: '1.5' is not a whole number"),
        ([*RUN_WORDS, "--outdir={run}/weights.pt"], "cannot be written"),
        ([*RUN_WORDS, "--outdir="], "--outdir: is empty"),
        ([*RUN_WORDS, "--filter_crossattn_str=full"], "only cross"),
        ([*RUN_WORDS, "--pretrained_model_name_or_path=none"], "no base 'none'"),
        ([*RUN_WORDS, "--pretrained_model_name_or_path="], "is empty"),
        ([*RUN_WORDS, "--n_imgs=3"], "unknown flag --n_imgs; did you mean --n_img?"),
    ],
)
def test_sampling_refuses_in_one_line_before_anything_slow(
    trained: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (trained / RUN / "weights.pt").touch()
    given = [word.replace("{run}", str(RUN)) for word in words]
    assert said in refusal(lambda: sample.main(given), trained, capsys, monkeypatch)


def test_commands_of_one_second_have_a_folder_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample.time, "strftime", lambda _: "samples_261128-060000")
    words = ["--prompts=a cat", "--n_img=1", "--n_step=1", f"--outdir={tmp_path}"]
    for seed in range(3):
        assert sample.main([*words, f"--seed={seed}"]) == 0
    names = [f"samples_261128-060000{end}" for end in ("", "-2", "-3")]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert len({p.read_bytes() for p in tmp_path.glob("*/samples/*.png")}) == 3


def test_sampling_needs_a_base(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(trained / RUN / FILES[0], tmp_path / FILES[0])
    monkeypatch.chdir(tmp_path)
    assert sample.main(["--lora_ckpt", FILES[0], "--prompts=a"]) == 2
    assert sample.main(["--prompts=a"]) == 2
    base = f"--pretrained_model_name_or_path={trained / 'models/stable-diffusion-v1-5'}"
    Path("prompts.txt").write_text("a <krk1> cat\n\na <krk1> cat in the snow\n")
    words = ["--lora_ckpt", ".", "--from_file=prompts.txt", "--n_img=1", "--n_step=1", base]
    assert sample.main(words) == 0
    assert len(list(tmp_path.glob("samples_*/samples/*.png"))) == 2


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a cat", "'a cat' does not contain <krk1>, the word of this checkpoint"),
        # The original's own text says <krk>.
        ("a <krk> cat", "<krk> in 'a <krk> cat' is no learned word (the one here is <krk1>)"),
        ("a <krk1> cat" + " of a dog" * 7, "reads 22 tokens of a prompt; it does not see 'a dog'"),
    ],
)
def test_a_prompt_that_is_read_otherwise_is_pointed_out(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], prompt: str, said: str
) -> None:
    words = ["--lora_ckpt", str(RUN), f"--prompts={prompt}", "--n_img=1", "--n_step=1"]
    assert sample.main([*words, f"--outdir={tmp_path}"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "sample.py" in line]
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("photo of a <krk1> cat", "photo_of_a_krk1_cat"),
        ('a/b\\c: "d"?\t*|\x00', "abc_d_"),
        ("../..", ""),
        ("ü" * 300, "ü" * 100),
    ],
)
def test_names_are_legal(prompt: str, name: str) -> None:
    assert sample.legal_name(prompt) == name
