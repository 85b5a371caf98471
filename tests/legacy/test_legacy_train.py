"""The documented commands, run on a tiny base where they expect Stable Diffusion to be."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

import textreg.adapter.legacy_file
import textreg.learning
from seed_commands import SAMPLING, TRAINING, words_of
from textreg.adapter import Adapter
from textreg.commands.progress import TrainingProgress
from textreg.legacy import sample, train
from textreg.trainer import StepRecord

# diffusers 0.42 and numpy 2 (2026-11); its Euler schedulers read a tensor as an array.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)

RUN = Path("logs/cat/2023-11-16T23-07-45_cat_textReg")
# The last of two equal flags counts: small pictures, few steps.
SHORT = ["--resolution=16", "--ti_train_step=2", "--max_train_steps=4", "--save_steps=1"]
FILES = ["lora_weight.safetensors", *[f"lora_weight_s{n}.safetensors" for n in range(1, 5)]]


def lay_out(place: Path, base: Path, pictures: Path) -> None:
    for path, target in (
        ("models/stable-diffusion-v1-5", base),
        ("custom_datasets/data/cat", pictures),
    ):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).symlink_to(target, target_is_directory=True)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, cat_pictures: Path
) -> Iterator[Path]:
    """The folder in which the training command was run."""
    place = tmp_path_factory.mktemp("repository")
    lay_out(place, tiny_base, cat_pictures)
    script, *words = words_of(TRAINING)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "argv", [script])
        patch.setattr(textreg.learning, "sample", partial(textreg.learning.sample, steps=1))
        assert train.main([*words, *SHORT]) == 0
        yield place


@pytest.fixture
def place(
    tmp_path: Path, tiny_base: Path, cat_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A fresh folder to run the commands in, without model cards."""
    lay_out(tmp_path, tiny_base, cat_pictures)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(textreg.learning, "write_cards", lambda run, backbone: None)
    return tmp_path


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("lora_weight*"))}


def test_training_leaves_the_originals_files_beside_the_runs_own(trained: Path) -> None:
    left = {path.name for path in (trained / RUN).iterdir()}
    assert left >= set(FILES)
    assert left >= {"run.yaml", "metrics.jsonl", "environment.json", "checkpoints", "README.md"}
    assert left >= {"pytorch_lora_weights.safetensors", "learned_embeds.safetensors"}
    assert not [name for name in left if "partial" in name]
    assert len({(trained / RUN / f"lora_weight_s{n}.safetensors").read_bytes() for n in (2, 3, 4)})


def test_files_have_the_originals_keys(trained: Path) -> None:
    for name in FILES:
        with safe_open(trained / RUN / name, framework="pt") as file:
            keys, about = set(file.keys()), file.metadata()
            up = file.get_slice("unet:0:up").get_shape()
            assert file.get_slice("<krk1>").get_shape() == [1, 64]
        # The tiny base has 7 cross-attention layers and 2 text layers.
        pairs = [f"unet:{i}" for i in range(14)] + [f"text_encoder:{j}" for j in range(8)]
        assert keys == {f"{p}:{side}" for p in pairs for side in ("up", "down")} | {"<krk1>"}
        assert about["<krk1>"] == "<embed>"
        assert about["unet:0:rank"] == "10"
        assert up == [16, 10]


def test_the_last_file_is_what_the_run_learned(trained: Path) -> None:
    run = Adapter.load(trained / RUN)
    for name in ("lora_weight.safetensors", "lora_weight_s4.safetensors"):
        legacy = Adapter.load(trained / RUN / name)
        assert (legacy.identifier, legacy.noun, legacy.rank) == ("<krk1>", "cat", 10)
        assert legacy.vector.equal(run.vector)
        names = textreg.adapter.legacy_file.module_order(run.factors)
        for key, (down, up) in zip(names, legacy.factors.values(), strict=True):
            assert down.equal(run.factors[key][0].half().float())
            assert up.equal(run.factors[key][1].half().float())


def test_the_same_command_again_has_nothing_to_do(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = weights(trained / RUN)
    assert train.main([*words_of(TRAINING)[1:], *SHORT]) == 0
    assert "is finished" in capsys.readouterr().err
    assert weights(trained / RUN) == before


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


def test_a_death_between_checkpoint_and_file_loses_no_file(
    trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*words_of(TRAINING)[1:], *SHORT]
    write = textreg.adapter.legacy_file.write
    for last in (1, 3, 4):

        def fail(adapter: Adapter, path: Path, *, text_layers: int, last: int = last) -> None:
            if path.name == f"lora_weight_s{last}.safetensors":
                raise KeyboardInterrupt
            write(adapter, path, text_layers=text_layers)

        monkeypatch.setattr(textreg.adapter.legacy_file, "write", fail)
        assert train.main(words) == 3
        assert not (place / RUN / f"lora_weight_s{last}.safetensors").exists()
    monkeypatch.setattr(textreg.adapter.legacy_file, "write", write)
    assert train.main(words) == 0
    assert weights(place / RUN) == {n: (trained / RUN / n).read_bytes() for n in sorted(FILES)}


def test_ctrl_c_stops_after_a_step_and_says_how_to_go_on(
    trained: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*words_of(TRAINING)[1:], *SHORT]
    show = TrainingProgress.show

    def interrupt(progress: TrainingProgress, record: StepRecord) -> None:
        show(progress, record)
        if record.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(sys, "argv", ["training_scripts/train_lora_w_ti.py", *words])
    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "show", interrupt)
        assert train.main(words) == 3
    said = capsys.readouterr().err
    assert "to go on: python training_scripts/train_lora_w_ti.py --pretrained" in said
    assert (place / RUN / "lora_weight_s3.safetensors").exists()
    assert not (place / RUN / "lora_weight_s4.safetensors").exists()
    assert train.main(words) == 0
    assert weights(place / RUN) == {n: (trained / RUN / n).read_bytes() for n in sorted(FILES)}


def test_a_learned_word_replaces_stage_1(trained: Path, place: Path) -> None:
    first = trained / RUN / "lora_weight_s2.safetensors"
    words = [*words_of(TRAINING)[1:], *SHORT, f"--resume_ti_embedding_path={first}"]
    assert train.main(words) == 0
    # Stage 2 alone, numbered as if stage 1 had run; stage 1 was the same, so the rest is too.
    assert sorted(weights(place / RUN)) == [FILES[0], FILES[3], FILES[4]]
    for name in (FILES[0], FILES[3], FILES[4]):
        again, before = (Adapter.load(p / RUN / name) for p in (place, trained))
        assert again.vector.equal(before.vector)
        for one, other in zip(again.factors.values(), before.factors.values(), strict=True):
            assert one[0].equal(other[0])
            assert one[1].equal(other[1])


def test_the_word_alone(place: Path) -> None:
    words = [*words_of(TRAINING)[1:], *SHORT, "--just_ti"]
    assert train.main(words) == 0
    assert sorted(weights(place / RUN)) == FILES[:3]
    adapter = Adapter.load(place / RUN / FILES[0])
    assert not any(up.any() for _, up in adapter.factors.values())
    assert Adapter.load(place / RUN).vector.equal(adapter.vector)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pretrained_model_name_or_path=models/none"], "models/none"),
        (["--instance_data_dir=nowhere"], "nowhere"),
        (["--resume_ti_embedding_path=none.safetensors"], "none.safetensors"),
        (["--resolution=100"], "--resolution 100"),
        (["--placeholder_token=cat"], "'cat'"),
    ],
)
def test_bad_input_is_one_line(
    place: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*words_of(TRAINING)[1:], *SHORT, *words]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("train_lora_w_ti.py: ")
    assert said in last


def test_a_wrong_base_leaves_no_run_behind(place: Path) -> None:
    wrong = "--pretrained_model_name_or_path=models/none"
    assert train.main([*words_of(TRAINING)[1:], *SHORT, "--local_files_only", wrong]) == 2
    assert not (place / RUN).exists()


def test_a_hub_id_without_network_is_one_line_within_seconds(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hang(*_: object, **__: object) -> None:
        time.sleep(60)

    words = [*words_of(TRAINING)[1:], "--pretrained_model_name_or_path=nobody/nothing"]
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: False)
    monkeypatch.setattr("socket.create_connection", hang)
    begun = time.monotonic()
    assert train.main(words) == 2
    assert time.monotonic() - begun < 5
    assert "the hub cannot be reached" in capsys.readouterr().err.splitlines()[-1]


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


@pytest.mark.slow
def test_the_commands_in_a_shell(tmp_path: Path, tiny_base: Path, cat_pictures: Path) -> None:
    lay_out(tmp_path, tiny_base, cat_pictures)
    root = Path(__file__).parents[1]
    for folder in ("training_scripts", "evaluation"):
        (tmp_path / folder).symlink_to(root / folder, target_is_directory=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    few = " --resolution=16 --ti_train_step=100 --max_train_steps=2000 --save_steps=400\n"
    for command, more in ((TRAINING, few), (SAMPLING, "\n")):
        done = subprocess.run(
            ["bash", "-c", command.removesuffix("\n") + more],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("logs/cat/*/samples_*/samples/*.png"))) == 10
