"""A stranger's safetensors file: refused in one line, before a tensor is made."""

import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

import textreg.adapter.tensor_file
from textreg.adapter.safe_header import open_checked, shown
from textreg.adapter.tensor_file import read_tensors, tensor_bytes
from textreg.errors import UserError

ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": ONE | changes}


def file_of(header: Any, data: bytes = b"\0" * 4, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def twice(name: bytes) -> bytes:
    one = json.dumps(ONE).encode()
    return b'{"' + name + b'":' + one + b',"' + name + b'":' + one + b"}"


HOSTILE = {
    "huge header": (file_of({}, length=2**63), "is cut off"),
    "header of 8 MB": (file_of(b" " * (1 << 23)), "its header has 8,388,608 bytes"),
    "negative place": (file_of(entry(data_offsets=[-4, 0])), "as safetensors"),
    "beyond the end": (file_of(entry(shape=[9], data_offsets=[0, 36])), "as safetensors"),
    "overlapping": (file_of({"a": ONE, "b": ONE}), "as safetensors"),
    "with a hole": (
        file_of({"a": ONE, "b": ONE | {"data_offsets": [8, 12]}}, b"\0" * 12),
        "as saf",
    ),
    "bytes left over": (file_of({"a": ONE}, b"\0" * 400), "as safetensors"),
    "terabytes": (file_of(entry(shape=[2**40])), "has the shape"),
    "overflow": (file_of(entry(shape=[2**63, 2**63])), "has the shape"),
    "empty but wide": (
        file_of(entry(shape=[0, 10**18], data_offsets=[0, 0]), b""),
        "has the shape",
    ),
    "five dimensions": (file_of(entry(shape=[1] * 5)), "has the shape"),
    "a broken shape": (file_of(entry(shape=[True])), "not whole numbers"),
    "a shape of text": (file_of(entry(shape="1")), "not whole numbers"),
    "the same name twice": (file_of(twice(b"lora")), "gives 'lora' twice"),
    "the same fact twice": (
        file_of(b'{"__metadata__":{"ss_v2":"a","ss_v2":"b"}}', b""),
        "gives 'ss_v2' twice",
    ),
    "facts that are numbers": (file_of({"__metadata__": {"a": 1}} | entry()), "is not text"),
    "facts that are a list": (file_of({"__metadata__": []} | entry()), "is not text"),
    "unknown type": (file_of(entry(dtype="BOOL")), "is of type BOOL"),
    "whole numbers": (file_of(entry(dtype="I32", shape=[1, 1])), "is of type I32"),
    "another key": (file_of(entry(code="x")), "is not described by"),
    "no description": (file_of({"a": []}), "is not described by"),
    "deep": (file_of(b"[" * 100_000 + b"]" * 100_000), "is no JSON"),
    "a long number": (file_of(b'{"a":' + b"9" * 5000 + b"}"), "is no JSON"),
    "a list": (file_of([]), "is no JSON object"),
    "not UTF-8": (file_of(b'{"\xff":1}'), "is no JSON"),
    "a zip": (b"PK\x03\x04" + b"\0\0\x08\0" + b"\0" * 99, "a pickle under this name"),
    "a pickle": (b"\x80\x04\x95\x1b\0\0\0\0" + b"\0" * 9 + b"\x8c\x02os.", "a pickle under"),
    "a web page": (b"<!DOCTYPE html><html>" + b" " * 99, "a web page"),
    "nothing": (b"", "is cut off"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_in_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, said = HOSTILE[kind]
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    if said != "as safetensors" and said != "as saf":
        # What safetensors itself refuses, it refuses before it makes a tensor; the rest is
        # refused before safetensors is asked.
        monkeypatch.setattr(textreg.adapter.tensor_file, "load", None)
    with pytest.raises(UserError, match=said) as refusal:
        read_tensors(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 300 + len(str(path))


def test_escape_sequences_are_printed_as_text(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    name = "\x1b[31mred\u202e" + "long" * 99
    path.write_bytes(file_of({name: ONE | {"dtype": "\x1b]0;title\x07"}}))
    with pytest.raises(UserError) as refusal:
        read_tensors(path)
    assert str(refusal.value).isprintable()
    assert r"'\x1b[31mred\u202elonglong" in str(refusal.value)
    assert len(shown(name)) < 130


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="is not a file"):
        read_tensors(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="Is a directory"):
        read_tensors(tmp_path)


def test_a_file_of_a_terabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(file_of({"a": ONE}))
    os.truncate(path, 1 << 40)
    with pytest.raises(UserError, match=r"1,099,511,627,776 bytes; no adapter"):
        read_tensors(path)


def test_every_header_length_is_taken_for_a_length(tmp_path: Path) -> None:
    """1152 bytes of header begin like a pickle of protocol 4."""
    path = tmp_path / "x.safetensors"
    text = json.dumps({"a": ONE}).encode()
    path.write_bytes(file_of(text + b" " * (0x480 - len(text))))
    assert path.read_bytes().startswith(b"\x80\x04")
    assert read_tensors(path)[0]["a"].tolist() == [0.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_sound_files_are_read_to_the_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"b": torch.arange(6.0).to(dtype).reshape(2, 3), "alpha": torch.tensor(4)}
    path.write_bytes(tensor_bytes(tensors, {"noun": "cat"}))
    read, metadata = read_tensors(path)
    assert metadata == {"noun": "cat"}
    assert {k: (v.dtype, v.tolist()) for k, v in read.items()} == {
        k: (v.dtype, v.tolist()) for k, v in tensors.items()
    }
    assert open_checked(path)[0] == path.read_bytes()


def test_any_damage_to_the_header_is_one_line_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    whole = save({"a": torch.ones(2, 3), "b": torch.ones(1)}, {"noun": "cat"})
    refusals: list[str] = []
    for seed in range(300):
        draw = random.Random(seed)
        data = bytearray(whole)
        data[draw.randrange(len(data) - 28)] = draw.choice(b'0123456789abcF[]{}",:\\\x00\xff')
        path.write_bytes(data[: draw.choice((len(data), len(data), draw.randrange(len(data))))])
        try:
            read_tensors(path)
        except UserError as error:
            refusals.append(str(error))
    assert 150 < len(refusals) < 300
    assert not [line for line in refusals if not line.isprintable()]
