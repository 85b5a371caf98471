"""Both forms against a loop that forms dW; weight decay is TextReg with G = I."""

from pathlib import Path

import pytest
import torch

from prior_setup import draws, set_up
from textreg.backbone import Backbone
from textreg.config import WeightDecay
from textreg.method.text_regularizer import edit_energy
from tiny_run import tiny_run


@pytest.mark.parametrize("form", ["product", "factors"])
def test_it_is_the_sum_over_all_keys_and_values(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path, dog_pictures: Path, form: str
) -> None:
    settings = WeightDecay(weight=0.7, form=form)  # type: ignore[arg-type]
    run = tiny_run(
        tiny_base, Path(), cat_pictures, dog_pictures, prior="weight-decay", weight_decay=settings
    )
    prior, projections, _ = set_up(run, backbone64)
    assert projections.edit is not None
    (name, term), *others = prior.penalties(draws(0, 1)).items()
    assert (name, term.weight, others) == ("weight_decay", 0.7, [])
    for n in range(2):
        wanted = 0.0
        for down, up in projections.edit.factors(n):
            parts = [up @ down] if form == "product" else [up, down]
            wanted += sum(float(number) ** 2 for part in parts for number in part.flatten())
        assert term.value[n].item() == pytest.approx(wanted, rel=1e-12)


def test_the_product_form_is_textreg_with_the_identity_for_a_pool(
    backbone64: Backbone, tiny_base: Path, cat_pictures: Path
) -> None:
    run = tiny_run(tiny_base, Path(), cat_pictures, prior="weight-decay")
    prior, projections, _ = set_up(run, backbone64)
    assert projections.edit is not None
    identity = torch.eye(projections.features, dtype=torch.float64)[None]
    wanted = edit_energy(projections.edit, identity).sum(1)
    value = prior.penalties(draws(0))["weight_decay"].value
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=0)
