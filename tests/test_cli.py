import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from textreg.cli import main


def outcome(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train", "the following arguments are required: IMAGES"),
        ("train here --rnk 3", "unknown flag --rnk; did you mean --rank?"),
        ("train here --steps 3", "unknown flag --steps; did you mean --tuning-steps?"),
        ("train here --train_steps 3", "unknown flag --train_steps; did you mean --tuning-steps?"),
        ("train here --hard", "textreg train: unknown flag --hard; see textreg train -h"),
        ("sample run --prompts x", "unknown flag --prompts; did you mean --prompt?"),
        ("toyland score --num_images 2", "unknown flag --num_images; did you mean --num-images?"),
        ("train nowhere --noun cat", "nowhere"),
        ("train {cat} --noun cat --identifier <KRK1>", "not lower case"),
        ("train {cat} --identifier cat", "already a token"),
        ("train {cat} --identifier dog", "already a token"),
        ("train {cat} --identifier ", "'': it must be one word"),
        ("train {cat} --noun ", "no class noun"),
        ("train {set}", "no pictures in this folder, but in 2 in it; give those, like {set}/cat"),
        ("train {set} --noun cat", "no pictures in this folder, but in 2 in it"),
        ("train {cat} --preset ", "--preset: is empty"),
        ("train  --noun cat", "IMAGES: is empty"),
        ("check ", "DIR: is empty"),
        ("demo --noun ", "no class noun"),
        ("train {cat} --rank 1000", "rank 1000 is too large"),
        ("train {cat} --rank 0", "--rank is 0"),
        ("train {cat} --inversion-steps 0 --tuning-steps 0", "nothing would be trained"),
        ("train {cat} --rank -1", "not a whole number"),
        ("train {cat} --resolution 100", "multiple of"),
        ("train {cat} --resolution 0", "--resolution is 0"),
        ("train {cat} --device tpu", "--device tpu: no such device here"),
        ("train {cat} --device cuda:7", "--device cuda:7"),
        ("train {cat} --dtype fp8", "invalid choice"),
        ("train {cat} --seed -1", "--seed"),
        ("train {cat} --seed 1.5", "'1.5'"),
        ("train {cat} --batch-concepts 0", "--batch-concepts"),
        ("train {cat} --config nowhere.yaml", "nowhere.yaml"),
        ("train {cat} --prompts-file nowhere.txt", "nowhere.txt"),
        ("train {cat} --prompts-file {long}", "is cut off"),
        ("train {cat} --config {token}", "initial token 'qqqq' is not in this base's vocabulary"),
        ("train {cat} --config {key}", "unknown key tuning.rnk; did you mean rank?"),
        ("train {cat} --property thing", "invalid choice"),
        ("train {cat} --noun a --identifier <k> --identifier", "expected one argument"),
        ("train {cat}/00.png", "00.png"),
        ("train {cat} --preset orginal", "did you mean original?"),
        ("train {cat} --prior weight-dcay", "did you mean weight-decay?"),
        ("train {cat} --prior gated+textreg", "beside gated only weight-decay"),
        ("train {cat} --base {cat}", "model_index.json"),
        ("train {cat} --base no-such-base", "no base 'no-such-base'"),
        ("train {cat} --out /proc/nowhere", "/proc/nowhere"),
        ("train {cat} --out {cat}", "is no run's folder and not empty (00.png)"),
        ("train {cat} {cat}", "share the folder name"),
        ("sample", "nothing to draw"),
        ("sample nowhere --prompt x", "nowhere: no such run"),
        ("sample --prompt x --steps 2000", "--steps is 2000; this base has 1000"),
        ("sample --prompt x --resolution 12", "--resolution 12: this base needs a multiple of"),
        ("sample --prompt x --resolution 0", "--resolution 0: this base needs a multiple of"),
        ("sample --prompt x --device tpu", "--device tpu: no such device here"),
        ("sample --prompt x --sampler eulr", "invalid choice"),
        ("sample --prompt x --base nowhere", "no base 'nowhere'"),
        ("sample one two --prompt x", "unrecognized arguments: two"),
        ("sample --prompt x --guidance nan", "'nan' is not a number"),
        ("sample --prompt x --guidance -1", "'-1' is negative; it must be 0 or more"),
        ("sample --prompt ", "--prompt is empty"),
        ("sample --prompt x --num-images 0", "--num-images is 0"),
        ("sample --prompt-file nowhere.txt", "nowhere.txt"),
        ("evaluate nowhere", "nowhere: is no run's folder"),
        ("evaluate {cat} --features cilp:x", "--features 'cilp:x': must be judge, clip:FOLDER"),
        ("evaluate {cat} --features clip:nowhere", "no config.json there"),
        ("evaluate {cat} --device gpu --features clip:nowhere", "--device gpu: no such device"),
        ("evaluate {cat} --num-images 0", "--num-images is 0"),
        ("evaluate {cat} --epsilon-prompts 0", "--epsilon-prompts is 0; it must be at least 1"),
        ("evaluate {cat} --guidance -1", "'-1' is negative"),
        ("evaluate {cat} --steps 0", "--steps is 0"),
        ("check nowhere", "nowhere"),
        ("compare {cat} --priors none,textrg", "no prior 'textrg'; did you mean textreg?"),
        ("compare nowhere --noun cat --priors none,textreg", "nowhere: cannot be listed"),
        ("compare {cat} --num-images 1", "--num-images is 1"),
        ("compare {cat} --epsilon-prompts 0", "--epsilon-prompts is 0; it must be at least 1"),
        ("demo --images nowhere", "nowhere"),
        ("demo --noun spaceship", "spaceship"),
        ("toyland score --num-images 1", "--num-images is 1"),
        ("frobnicate", "invalid choice"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_base: Path,
    cat_pictures: Path,
    words: str,
    message: str,
) -> None:
    def load(*given: object) -> None:
        raise AssertionError("a base is loaded before the input is refused")

    monkeypatch.setattr("textreg.base_files.BaseFiles.load", load)
    files = {"long": "a photo, " * 80 + "[trigger]", "key": "tuning: {rnk: 3}"}
    files["token"] = "inversion: {initial_token: qqqq}"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    places = {name: tmp_path / name for name in files} | {"set": tmp_path / "images"}
    for name in ("cat", "dog"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / name).symlink_to(cat_pictures)
    given = words.format(cat=cat_pictures, **places).split(" ")
    if given[0] in ("train", "sample"):
        given += [] if "--base" in given else ["--base", str(tiny_base)]
        given += [] if "--out" in given else ["--out", str(tmp_path / "out")]
    code, _, err = outcome(capsys, *given)
    last = err.strip().splitlines()[-1]
    assert code == 2
    assert message.format(**places) in last
    assert "Traceback" not in err
    assert "training into" not in err
    assert not list(tmp_path.glob("out/*.safetensors"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(capsys, "--version")[:2] == (0, f"textreg {version('textreg')}\n")


def test_the_main_job(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_base: Path, cat_pictures: Path
) -> None:
    run = tmp_path / "run"
    train = ["train", str(cat_pictures), "--base", str(tiny_base), "--out", str(run)]
    train += ["--inversion-steps", "3", "--tuning-steps", "3", "--rank", "2"]
    code, out, _ = outcome(capsys, *train)
    assert code == 0
    assert 'learned "<krk1> cat"' in out
    assert re.search(r"best on the front: step \d of 3, ", out)
    assert {p.name for p in run.iterdir()} == {
        ".lock",
        "README.md",
        "best",
        "checkpoints",
        "environment.json",
        "front.json",
        "image_0.png",
        "image_1.png",
        "image_2.png",
        "image_3.png",
        "learned_embeds.safetensors",
        "metrics.jsonl",
        "pytorch_lora_weights.safetensors",
        "run.yaml",
        "webui",
    }
    assert {p.name for p in (run / "webui").iterdir()} == {
        "krk1.safetensors",
        "krk1_lora.json",
        "krk1_lora.preview.png",
        "krk1_lora.safetensors",
    }
    assert (run / "webui/krk1_lora.preview.png").read_bytes().startswith(b"\x89PNG")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}

    code, out, _ = outcome(capsys, *train)
    assert code == 0
    assert "this run is finished" in out
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before

    code, _, err = outcome(capsys, *train[:-1], "4")
    assert code == 2
    assert "tuning.rank is 2 there, 4 here" in err

    sample = ["sample", str(run), "--prompt", "a <krk1> cat", "--num-images", "2", "--steps", "2"]
    code, out, err = outcome(capsys, *sample)
    assert code == 0
    assert "no prompt has" not in err
    names = ["00000_a_krk1_cat.png", "00001_a_krk1_cat.png", "grid_00000.png", "samples.jsonl"]
    assert sorted(p.name for p in (run / "samples").iterdir()) == names
    # Nothing is overwritten: a second call goes on numbering.
    _, _, err = outcome(capsys, *[w.replace("<krk1> ", "") for w in sample], "--seed", "7")
    assert "no prompt has <krk1>, the word of this concept" in err
    lines = [json.loads(x) for x in (run / "samples/samples.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in lines] == [0, 1, 7, 8]
    assert len(list((run / "samples").glob("*.png"))) == 6


@pytest.mark.parametrize("text", ["output_preservation: {weight: 2}", "seed: 1  # without out"])
def test_a_file_that_only_mentions_out_leaves_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cat_pictures: Path, text: str
) -> None:
    from textreg.commands import train

    monkeypatch.setattr(
        train, "run_with_progress", lambda run, *_: int(run.out != Path("runs/cat"))
    )
    (tmp_path / "settings.yaml").write_text(text)
    assert main(["train", str(cat_pictures), "--config", str(tmp_path / "settings.yaml")]) == 0


def test_several_concepts_in_one_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_base: Path, cat_pictures: Path
) -> None:
    other = tmp_path / "dog"
    other.symlink_to(cat_pictures)
    code, _, _ = outcome(
        capsys, "train", str(cat_pictures), str(other), "--base", str(tiny_base), "--out",
        str(tmp_path / "shelf"), "--inversion-steps", "1", "--tuning-steps", "1",
    )  # fmt: skip
    assert code == 0
    for name, word in (("cat", "<krk1> cat"), ("dog", "<krk2> dog")):
        assert f"`{word}`" in (tmp_path / "shelf" / name / "README.md").read_text()


def test_a_finished_run_is_only_of_its_own_pictures(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_base: Path, cat_pictures: Path
) -> None:
    """Other pictures, or another folder's, are not said to be learned already."""
    for name in ("cat", "tom"):
        shutil.copytree(cat_pictures, tmp_path / name)
    ending = ["--noun", "cat", "--base", str(tiny_base), "--out", str(tmp_path / "out")]
    ending += ["--inversion-steps", "1", "--tuning-steps", "1"]
    train = ["train", str(tmp_path / "cat"), *ending]
    assert outcome(capsys, *train)[0] == 0
    assert "nothing to do" in outcome(capsys, *train)[1]
    code, _, said = outcome(capsys, "train", str(tmp_path / "tom"), *ending)
    assert (code, "holds another run: concepts.0.images is" in said) == (2, True)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "cat" / "00.png")
    code, _, said = outcome(capsys, *train)
    assert (code, "holds another run: the pictures have changed since" in said) == (2, True)
    shutil.rmtree(tmp_path / "cat")
    assert "nothing to do" in outcome(capsys, *train)[1]


def test_help_is_instant_because_it_imports_no_torch() -> None:
    program = (
        "import sys; from textreg.parser import parser; parser().format_help();"
        "print(sorted({'torch', 'numpy', 'pydantic', 'diffusers'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stdout == b"[]\n"


def test_flags_are_frozen() -> None:
    """Adding a flag is a decision: this list is changed with it."""
    from textreg.parser import parser

    verbs = parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    flags = {
        name: sorted(f for action in verb._actions for f in action.option_strings if f != "-h")
        for name, verb in verbs.items()
    }
    assert flags == {
        "train": sorted(
            [
                "--help",
                "--noun",
                "--identifier",
                "--property",
                "--preset",
                "--prompts-file",
                "--prompts_file",
                "--batch-concepts",
                "--config",
                "--out",
                "--base",
                "--prior",
                "--track",
                "--take-over",
                "--resume",
                "--force-new",
                "--deterministic",
                "--sample-every",
                "--sample-prompts",
                "--snr",
                "--noise-offset",
                "--ema",
                "--optimizer",
                "--speed",
                "--inversion-steps",
                "--tuning-steps",
                "--vectors",
                "--rank",
                "--placement",
                "--text-encoder-rank",
                "--resolution",
                "--seed",
                "--device",
                "--dtype",
            ]
        ),
        "sample": sorted(
            [
                "--help",
                "--prompt",
                "--prompt-file",
                "--num-images",
                "--out",
                "--seed",
                "--steps",
                "--guidance",
                "--sampler",
                "--negative-prompt",
                "--batch-size",
                "--base",
                "--device",
                "--dtype",
                "--resolution",
            ]
        ),
        "export": ["--dtype", "--help", "--out", "--to"],
        "import": [
            "--base",
            "--embedding",
            "--help",
            "--identifier",
            "--noun",
            "--out",
            "--property",
        ],
        "evaluate": sorted(
            [
                "--help",
                "--out",
                "--num-images",
                "--epsilon-prompts",
                "--features",
                "--prompts",
                "--images",
                "--seed",
                "--steps",
                "--guidance",
                "--sampler",
                "--batch-size",
                "--base",
                "--device",
                "--dtype",
            ]
        ),
        "check": ["--help", "--json"],
        "demo": ["--help", "--images", "--noun", "--out", "--seed"],
        "toyland": ["--help"],
        "compare": sorted(
            [
                "--help",
                "--noun",
                "--identifier",
                "--property",
                "--priors",
                "--seeds",
                "--equal",
                "--out",
                "--num-images",
                "--epsilon-prompts",
                "--features",
                "--prompts",
                "--preset",
                "--config",
                "--snr",
                "--noise-offset",
                "--ema",
                "--optimizer",
                "--speed",
                "--base",
                "--inversion-steps",
                "--tuning-steps",
                "--vectors",
                "--rank",
                "--placement",
                "--text-encoder-rank",
                "--resolution",
                "--seed",
                "--device",
                "--dtype",
            ]
        ),
    }
