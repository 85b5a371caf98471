"""The documented commands, run on a tiny base where they expect Stable Diffusion to be."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors import safe_open
from seed_commands import FILES, RUN, SAMPLING, SHORT, TRAINING, lay_out, words_of

import textreg.adapter.legacy_file
from textreg.adapter import Adapter
from textreg.commands.progress import TrainingProgress
from textreg.legacy import train
from textreg.training import StepRecord


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
        # The tiny base has 4 cross-attention layers and 2 text layers.
        pairs = [f"unet:{i}" for i in range(8)] + [f"text_encoder:{j}" for j in range(8)]
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
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    before = weights(trained / RUN)
    assert train.main([*words_of(TRAINING)[1:], *SHORT]) == 0
    assert "is finished" in capsys.readouterr().err
    assert weights(trained / RUN) == before


@pytest.mark.thorough
def test_a_death_between_checkpoint_and_file_loses_no_file(
    trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*words_of(TRAINING)[1:], *SHORT]
    write = textreg.adapter.legacy_file.write
    for last in (1, 4):

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


@pytest.mark.thorough
def test_the_word_alone(place: Path) -> None:
    words = [*words_of(TRAINING)[1:], *SHORT, "--just_ti"]
    assert train.main(words) == 0
    assert sorted(weights(place / RUN)) == FILES[:3]
    adapter = Adapter.load(place / RUN / FILES[0])
    assert not any(up.any() for _, up in adapter.factors.values())
    assert Adapter.load(place / RUN).vector.equal(adapter.vector)


@pytest.mark.thorough
def test_class_pictures_of_a_folder(place: Path) -> None:
    """In the original, this beside TextReg crashed."""
    (place / "prompts.txt").write_text("a photo of a cat\n")
    more = ["--with_prior_preservation", "--prior_loss_weight=0.5", "--prompts_file=prompts.txt"]
    more += ["--class_data_dir=custom_datasets/data/cat"]
    assert train.main([*words_of(TRAINING)[1:], *SHORT, *more]) == 0
    lines = [json.loads(x) for x in (place / RUN / "metrics.jsonl").read_text().splitlines()]
    weights = {"denoising": 1, "class_images": 0.5, "class_prior": 0.01, "edit_prior": 0.01}
    for line in lines[2:]:
        total = line["losses"].pop("total")
        assert total == pytest.approx(sum(weights[k] * v for k, v in line["losses"].items()))
        assert line["losses"].keys() == weights.keys()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--with_prior_preservation", "--class_data_dir=nowhere"], "nowhere: no such folder"),
        (["--with_prior_preservation", "--prompts_file=f"], "--prompts_file describes"),
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
    over = threading.Event()

    def hang(*_: object, **__: object) -> None:
        over.wait(60)
        raise OSError

    words = [*words_of(TRAINING)[1:], "--pretrained_model_name_or_path=nobody/nothing"]
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: False)
    monkeypatch.setattr("socket.create_connection", hang)
    monkeypatch.setattr("textreg.base_files._PATIENCE", 0.1)
    begun = time.monotonic()
    assert train.main(words) == 2
    assert time.monotonic() - begun < 5
    over.set()
    assert "the hub cannot be reached" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_the_commands_in_a_shell(tmp_path: Path, tiny_base: Path, cat_pictures: Path) -> None:
    lay_out(tmp_path, tiny_base, cat_pictures)
    root = Path(__file__).parents[2]
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
