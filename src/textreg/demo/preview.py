"""The demo in one picture: three models, side by side, same prompts and seeds."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from textreg.demo.measures import Shown

_SIDE, _GAP, _LABEL, _HEAD, _EACH = 96, 3, 150, 26, 3
LABELS = {"base": "base model", "none": "without a prior", "textreg": "with TextReg"}


def preview(pictures: dict[str, dict[str, Shown]], keys: list[str]) -> Image.Image:
    """A labelled sheet: a row a model, a group of three pictures a kind of prompt.

    Args:
        pictures: what each model drew, by kind of prompt.
        keys: the kinds to show, in order; the prompt of the tuned model heads its group.
    """
    group = _EACH * (_SIDE + _GAP) + 4 * _GAP
    rows = len(pictures)
    size = (_LABEL + len(keys) * group, _HEAD + rows * (_SIDE + _GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    prompts = pictures["textreg"]
    for column, key in enumerate(keys):
        left = _LABEL + column * group
        pen.text((left, 4), _fitting(prompts[key].prompt, pen, font, group), "#1c1917", font)
        for row, shown in enumerate(pictures.values()):
            for n, picture in enumerate(shown[key].pictures[:_EACH] if key in shown else ()):
                place = (left + n * (_SIDE + _GAP), _HEAD + row * (_SIDE + _GAP))
                sheet.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), place)
    for row, name in enumerate(pictures):
        top = _HEAD + row * (_SIDE + _GAP) + _SIDE // 2 - 8
        pen.text((2, top), LABELS[name], "#1c1917", font)
    return sheet


def _fitting(
    text: str,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    width: int,
) -> str:
    """The text, cut at a word where it would not fit."""
    words = text.split()
    while len(words) > 1 and pen.textlength(" ".join(words), font) > width - 8:
        words.pop()
    return " ".join(words) + ("" if " ".join(words) == text else " ...")
