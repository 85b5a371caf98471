"""Toyland's judge behind the protocol, and the questions in its base's folder."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from textreg.bases import local_folder
from textreg.commands.judge_features import JudgeFeatures
from textreg.config import Concept, TextReg
from textreg.evaluate.features import AttributeReader, TextSide, pixel_tensor, refuse_unfit
from textreg.evaluate.questions import questions_for
from textreg.toyland import Judge


def test_the_judge_fits_what_its_base_is_asked() -> None:
    judge, base = JudgeFeatures(), local_folder("toyland")
    assert base is not None
    concept = Concept(images=Path("cat"), noun=judge.attributes["noun"][0])
    asked = questions_for(concept, TextReg(), base)
    refuse_unfit(judge, 64, asked.edits)
    assert all(edit.shows for edit in asked.edits)
    assert asked.left_out == ()
    assert set(asked.neighbours) <= set(judge.attributes["noun"])


def test_the_judge_sees_the_middle_square() -> None:
    assert isinstance(JudgeFeatures(), AttributeReader)
    assert not isinstance(JudgeFeatures(), TextSide)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    small = Image.fromarray(pixels)
    wide = Image.new("RGB", (256, 128))
    wide.paste(small.resize((128, 128), Image.Resampling.NEAREST), (64, 0))
    seen = JudgeFeatures().features([small, wide])
    torch.testing.assert_close(seen[0], seen[1])
    torch.testing.assert_close(seen[:1], Judge.load().features(pixel_tensor([small])))
