"""Faults 21, 22, 30, 35, 37: generated inputs; each is read, or refused in one printable line.

The inputs are drawn from fixed seeds; TEXTREG_FAULT_EXAMPLES sets how many of each kind there are.
"""

import contextlib
import io
import json
import os
import resource
import signal
import struct
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from torch import zeros

from textreg import cli
from textreg.adapter.reading import Told, read
from textreg.base_screen import read_json
from textreg.concept import inspect_folder
from textreg.config import Concept
from textreg.errors import UserError
from textreg.pictures import read_picture
from textreg.prompts import read_prompt_file
from textreg.yaml_file import read_mapping

EXAMPLES = int(os.environ.get("TEXTREG_FAULT_EXAMPLES", "25"))
_MEMORY = 3 << 30
generated = settings(
    max_examples=EXAMPLES,
    deadline=None,  # of the wall clock; `in_time` reads the process's own
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True, scope="module")
def capped_memory() -> Generator[None]:
    """More than this on top of what is there already raises MemoryError, which no test allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + _MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class HangError(BaseException):
    """Nothing that would catch an error runs for it."""


@contextlib.contextmanager
def in_time() -> Generator[None]:
    """Five seconds of work; a minute of the clock, where something waits for what never comes."""

    def hang(number: int, frame: object) -> None:
        raise HangError

    before, start = signal.signal(signal.SIGALRM, hang), time.process_time()
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.process_time() - start < 5


@contextlib.contextmanager
def one_line_at_most() -> Generator[None]:
    try:
        with in_time():
            yield
    except UserError as error:
        said = str(error)
    else:
        return
    assert said.isprintable(), repr(said)
    assert len(said) < 4000


def file(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def flipped(data: st.DataObject, sound: bytes) -> bytes:
    """A sound file with some bytes changed, cut out or put in."""
    broken = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(broken)))
        broken[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    return bytes(broken)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**60, 2**70)
    | st.floats()
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@generated
@given(data=st.data())
def test_pictures(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP"]))
    Image.effect_mandelbrot((80, 72), (-2, -1, 1, 1), 20).convert("RGB").save(buffer, kind)
    path = file(tmp_path_factory.getbasetemp(), flipped(data, buffer.getvalue()), f"x.{kind}")
    with one_line_at_most():
        read_picture(path)


@generated
@given(data=st.data())
def test_adapters(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Headers and metadata of safetensors files: sound ones damaged, and made up."""
    if data.draw(st.booleans()):
        key = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
        tensors = {key: zeros(2, 8), key.replace("_A", "_B"): zeros(8, 2)}
        sound = save(tensors, {"lora_adapter_metadata": data.draw(st.text(max_size=50))})
        content = flipped(data, sound)
    else:
        entry = st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F16", "F4", "I64", "BOOL"]) | JSON,
                "shape": st.lists(st.integers(-2, 2**63), max_size=5) | JSON,
                "data_offsets": st.lists(st.integers(-8, 2**64), max_size=3) | JSON,
            }
        )
        names = st.text(max_size=30) | st.sampled_from(["lora_A.weight", "__metadata__", "<krk1>"])
        header = json.dumps(data.draw(st.dictionaries(names, entry | JSON, max_size=4))).encode()
        length = data.draw(st.sampled_from([len(header)] * 4 + [0, 2**32, 2**64 - 1]))
        content = struct.pack("<Q", length) + header + data.draw(st.binary(max_size=64))
    path = file(tmp_path_factory.getbasetemp(), content, "x.safetensors")
    with one_line_at_most():
        read(path, Told(identifier="<krk1>", noun="cat", learnable_property="object"))


@generated
@given(text=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_prompt_files(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    with one_line_at_most():
        assert read_prompt_file(file(tmp_path_factory.getbasetemp(), text))


YAML_TEXT = st.lists(
    st.sampled_from(
        [
            *"[]{}&*!|>-?:,#%@`'\"\n\t ",
            *("!!int", "!!bool", "!!float", "!!timestamp", "!!binary", "2001-99-99", "0x", "1e999"),
            *("seed: ", "tuning: ", "rank: ", "a", "<<: ", "~", "9" * 5000),
        ]
    ),
    max_size=14,
).map("".join)


@generated
@given(text=YAML_TEXT | st.text(max_size=60) | JSON.map(json.dumps))
def test_yaml(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = file(tmp_path_factory.getbasetemp(), text.encode("utf-8", "surrogatepass"), "x.yaml")
    with one_line_at_most():
        assert isinstance(read_mapping(path, "must hold keys"), dict)
    words = ["train", str(path.parent), "--noun", "cat", "--config", str(path), "--out", "never"]
    assert command(words)[0] == 2


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\n",
        "a: " + "[" * 20000,
        "seed: 2001-99-99",
        "seed: !!bool maybe",
        "seed: !!int ''",
        "seed: !!float ''",
        "seed: !!timestamp x",
        "seed: " + "9" * 5000,
        "seed: !" + "x" * 5000,
        "? [a]\n: b",
        "\0",
        "\x85\u2028\x1b[2J: [",
    ],
)
def test_yaml_that_pyyaml_itself_trips_over(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError) as refusal:
        read_mapping(file(tmp_path, text.encode()), "must hold keys")
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 1000


@generated
@given(content=JSON, cut=st.integers(0, 400))
def test_settings_of_a_base(
    tmp_path_factory: pytest.TempPathFactory, content: Any, cut: int
) -> None:
    path = file(tmp_path_factory.getbasetemp(), json.dumps(content).encode()[:cut], "c.json")
    with one_line_at_most():
        read_json(path)


def command(words: list[str]) -> tuple[int, str]:
    """Exit code and what is said to stderr."""
    said = io.StringIO()
    quiet = contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO())
    with quiet[0], quiet[1], in_time():
        try:
            code = cli.main(words)
        except SystemExit as exit:
            code = int(exit.code or 0)
    return code, said.getvalue()


FLAGS = [
    "--noun --identifier --property --preset --config --out --base --prior --track --seed --rank",
    "--resolution --device --dtype --inversion-steps --tuning-steps --prompt --num-images --to",
    "--embedding --json --help --take-over --nonsense -- -x",
]
VALUES = st.sampled_from(
    ["", "0", "-1", "9" * 30, "nan", "1e9", "cat", "..", "/", "/dev/null", "\x1b[2J", "a\nb", "<x>"]
) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@generated
@given(
    verb=st.sampled_from(["train", "sample", "export", "import", "check", "evaluate", "x"]),
    words=st.lists(st.sampled_from(" ".join(FLAGS).split()) | VALUES, max_size=6),
)
def test_flags(tmp_path_factory: pytest.TempPathFactory, verb: str, words: list[str]) -> None:
    """Nothing is there to work on: every command line ends with its help or with code 2."""
    here = tmp_path_factory.mktemp("flags")
    with contextlib.chdir(here):
        code, said = command([verb, "missing", *words])
        assert code in (0, 1, 2), said
        assert "Traceback" not in said
        assert not list(here.rglob("*")), "a command line that cannot work writes nothing"


@generated
@given(name=st.text(max_size=60) | st.sampled_from(["..", ".", "/", "CON", "a/../../b", "-rf"]))
def test_folder_names(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """Whatever a folder is called, what is written for it stays in the run's folder."""
    home = tmp_path_factory.getbasetemp() / "run"
    made = Concept(images=Path(name.replace("\0", "")), noun="cat").name
    assert (home / made).resolve().parent == home.resolve() or made == ""
    with one_line_at_most(), contextlib.suppress(UserError):
        inspect_folder(tmp_path_factory.getbasetemp() / name.replace("\0", ""))
