"""The model card of a learned concept: README.md with pictures and the exact prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from textreg.adapter import Adapter
from textreg.adapter.about import base_name
from textreg.adapter.diffusers_files import load_pair
from textreg.adapter.webui_files import webui_prompt, word_name
from textreg.checkpoint import publish
from textreg.config import Placement, Run
from textreg.front import best_step
from textreg.method.attention_edit import placement_of
from textreg.png_file import publish_png
from textreg.sampling import Picture


def card_prompts(adapter: Adapter) -> list[str]:
    """What a card shows: the concept, edits of it, and the class, which must not have changed."""
    words = f"{adapter.identifier} {adapter.noun}"
    if adapter.learnable_property == "style":
        things = ("a house", "a cat", "a mountain", "a flower")
        return [f"{thing} in the style of {words}" for thing in things]
    return [
        adapter.prompt,
        f"a {words} in the snow",
        f"a {words} on the beach",
        f"a photo of a {adapter.noun}",
    ]


def copy_card(place: Path, out: Path, run: Run, adapter: Adapter, *, replace: bool) -> Path | None:
    """Write the card of a run's folder elsewhere, with the pictures that it shows.

    Args:
        place: the folder of the concept, or of its best state.
        out: where to.
        run: its settings, with the steps behind this state.
        adapter: the concept.
        replace: take the place of what is there.

    Returns:
        What is there already and differs, so that nothing was written; none: the card is there.
    """
    numbered = enumerate(card_prompts(adapter))
    shots = [(prompt, n) for n, prompt in numbered if (place / _picture(n)).is_file()]
    contents = {_picture(n): (place / _picture(n)).read_bytes() for _, n in shots}
    contents["README.md"] = card_text(out, run, adapter, shots, records=False).encode()
    for name, data in contents.items():
        if not replace and (out / name).exists() and (out / name).read_bytes() != data:
            return out / name
    for name, data in contents.items():
        publish(out / name, data)
    return None


def write_card(folder: Path, run: Run, adapter: Adapter, pictures: Sequence[Picture]) -> None:
    """Write the pictures and, last of all, README.md: with it the run is finished."""
    for n, picture in enumerate(pictures):
        publish_png(folder / _picture(n), picture.image)
    shots = [(picture.prompt, picture.seed) for picture in pictures]
    publish(folder / "README.md", card_text(folder, run, adapter, shots).encode())


def _picture(number: int) -> str:
    return f"image_{number}.png"


def card_text(
    folder: Path,
    run: Run,
    adapter: Adapter,
    shots: Sequence[tuple[str, int]],
    *,
    records: bool = True,
) -> str:
    """README.md.

    Args:
        folder: where it will lie.
        run: the run's settings.
        adapter: the concept.
        shots: prompt and seed of each picture.
        records: whether the run's own lie beside it.
    """
    word = word_name(adapter.identifier)
    base = base_name(run.base)
    header = {
        "license": "other",
        "library_name": "diffusers",
        "base_model": base,
        "instance_prompt": adapter.prompt,
        "tags": ["text-to-image", "diffusers", "lora", "textual-inversion", "textreg"],
        "widget": [
            {"text": prompt, "output": {"url": _picture(n)}} for n, (prompt, _) in enumerate(shots)
        ],
    }
    rows = "\n".join(
        f"| ![{prompt}]({_picture(n)}) | `{prompt}` | {seed} |"
        for n, (prompt, seed) in enumerate(shots)
    )
    use = _USE if adapter.edited_tokens == "all" else _USE_GATED
    xl, many = bool(adapter.second_width), adapter.num_vectors
    shown = f"\n| picture | prompt | seed |\n|---|---|---|\n{rows}\n" if rows else ""
    text = _TEXT.format(
        header=yaml.safe_dump(header, sort_keys=False, allow_unicode=True),
        words=f"{adapter.identifier} {adapter.noun}",
        word_vectors="one word vector" if many == 1 else f"{many} word vectors",
        prompt=adapter.prompt,
        base=base,
        prior=run.prior,
        use=use.format(
            base=base,
            prompt=adapter.prompt,
            webui=webui_prompt(adapter, word),
            comfyui=webui_prompt(adapter, f"embedding:{word}"),
            stem=word,
            pipeline="StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline",
            imports="import safetensors.torch\n" if xl else "",
            load=load_pair(adapter, _HERE) if xl else f'pipe.load_textual_inversion("{_HERE}")',
        ),
        steps=f"{run.inversion.steps} + {run.tuning.steps}",
        best=_best(folder),
        rank=adapter.rank,
        what=_WHAT[placement_of(adapter.factors)] + _text_encoder(adapter),
        pictures=shown,
    )
    return text + _RECORDS if records else text.rstrip() + "\n"


_WHAT: dict[Placement, str] = {
    "cross-kv": "the cross-attention keys and values",
    "self": "the self-attention",
    "cross+self": "the cross-attention keys and values and the self-attention",
    "full": "all of the attention",
}


def _text_encoder(adapter: Adapter) -> str:
    rank, encoders = adapter.encoder_rank, "encoders'" if adapter.second_width else "encoder's"
    return f", and a rank-{rank} edit of the text {encoders} attention" if rank else ""


def _best(folder: Path) -> str:
    found = best_step(folder)
    if found is None:
        return ""
    best, steps = found
    return f"Best on the front of gain and drift (front.json): step {best} of {steps}, in best/.\n"


_TEXT = """---
{header}---

# {words}

A concept learned with textreg on `{base}`: {word_vectors} and
a rank-{rank} edit of {what}. {steps} steps, prior `{prior}`.
{pictures}
## Use it

The prompt contains `{words}`, both words, for example `{prompt}`.

{use}
{best}"""
_RECORDS = """\
Settings: run.yaml. Versions and hardware: environment.json. Losses and drift: metrics.jsonl.
"""

_HERE = "this/folder"
_USE = """```python
{imports}from diffusers import {pipeline}

pipe = {pipeline}.from_pretrained("{base}")
pipe.load_lora_weights("this/folder")
{load}
pipe("{prompt}").images[0]
```

Web interfaces take `webui/{stem}_lora.safetensors`, among the LoRAs, and
`webui/{stem}.safetensors`, among the embeddings. Type in A1111 and Forge:
`{webui} <lora:{stem}_lora:1>`; in ComfyUI, with the LoRA loaded: `{comfyui}`.
"""
_USE_GATED = """    textreg sample this/folder --prompt "{prompt}"

Draw it with textreg alone: its edit acts on the token of the new word only, which other programs
cannot do.
"""
