"""The documented sampling command: pictures, grids, names, and what is refused."""

import shutil
from pathlib import Path

import pytest
from PIL import Image
from seed_commands import FILES, RUN, SAMPLING, words_of

from textreg.legacy import sample

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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lora_ckpt=none/lora_weight.safetensors", "--prompts=a"], "no such file"),
        (["--lora_ckpt={run}/lora_weight_s9.safetensors", "--prompts=a"], "the newest there is"),
        (["--lora_ckpt={run}", "--prompts= ; "], "--prompts is empty"),
        (["--lora_ckpt={run}", "--prompts=a", "--n_img=0"], "--n_img is 0"),
        (["--lora_ckpt={run}", "--prompts=a", "--filter_crossattn_str=full"], "only cross"),
        (["--lora_ckpt={run}", "--from_file=none.txt"], "none.txt"),
        (["--lora_ckpt={run}/weights.pt", "--prompts=a"], "pickle"),
    ],
)
def test_sampling_refuses_in_one_line(
    trained: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / RUN / "weights.pt").touch()
    assert sample.main([word.replace("{run}", str(RUN)) for word in words]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


def test_sampling_needs_a_base_and_exactly_one_kind_of_prompts(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(trained / RUN / FILES[0], tmp_path / FILES[0])
    monkeypatch.chdir(tmp_path)
    assert sample.main(["--lora_ckpt", FILES[0], "--prompts=a"]) == 2
    for words in (["--prompts=a", "--from_file=b"], []):
        with pytest.raises(SystemExit) as stopped:
            sample.main(words)
        assert stopped.value.code == 2
    base = f"--pretrained_model_name_or_path={trained / 'models/stable-diffusion-v1-5'}"
    Path("prompts.txt").write_text("a <krk1> cat\n\na <krk1> cat in the snow\n")
    words = ["--lora_ckpt", ".", "--from_file=prompts.txt", "--n_img=1", "--n_step=1", base]
    assert sample.main(words) == 0
    assert len(list(tmp_path.glob("samples_*/samples/*.png"))) == 2


def test_a_prompt_without_the_word_is_pointed_out(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--lora_ckpt", str(RUN), "--prompts=a <krk> cat", "--n_img=1", "--n_step=1"]
    assert sample.main([*words, f"--outdir={tmp_path}"]) == 0
    assert "'a <krk> cat' does not contain <krk1>" in capsys.readouterr().err


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
