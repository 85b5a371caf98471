from pathlib import Path

import pytest

from textreg.backbone import Backbone
from textreg.config import Inversion, Tuning
from textreg.errors import UserError
from textreg.evaluate.subjects import quarantined, subjects_of
from tiny_run import tiny_run, train


def test_a_run_with_several_concepts(
    tiny_base: Path, cat_pictures: Path, dog_pictures: Path, backbone: Backbone, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    short = {"inversion": Inversion(steps=1), "tuning": Tuning(steps=1, rank=2)}
    train(tiny_run(tiny_base, run, cat_pictures, dog_pictures, **short), backbone)
    moved = run.rename(tmp_path / "moved")
    cat, dog = subjects_of(moved)
    assert [s.concept.name for s in (cat, dog)] == ["cat", "dog"]
    assert [s.folder for s in (cat, dog)] == [moved / "cat", moved / "dog"]
    assert [p.path.name for p in dog.photos] == ["00.png", "01.png", "02.png", "03.png"]
    assert {line["concept"] for line in dog.metrics()} == {"dog"}
    (alone,) = subjects_of(moved / "dog", images=dog_pictures)
    assert alone == dog
    with pytest.raises(UserError, match="has 2: evaluate one of them at a time, like"):
        subjects_of(moved, images=dog_pictures)
    with pytest.raises(UserError, match=r"is none of the concepts of .* \(cat, dog\)"):
        subjects_of(moved / "checkpoints")
    for name in ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors"):
        (moved / "dog" / name).unlink()
    with pytest.raises(UserError, match=r"dog: this run is not finished"):
        subjects_of(moved)
    # Cards come after the last step of all.
    (moved / "cat" / "README.md").touch()
    assert subjects_of(moved) == [cat]
    assert subjects_of(moved, images=cat_pictures) == [cat]
    assert quarantined(cat.run) == ["dog"]
    with pytest.raises(UserError, match=r"moved/dog: dog ended in quarantine, so it has no "):
        subjects_of(moved / "dog")
