"""State of N concepts in stacked tensors, some of whom have left the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor


def along(values: Tensor, like: Tensor) -> Tensor:
    """A number a concept, [N], as [N, 1, ...], to multiply `like` or to choose concepts of it."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def whole(
    rows: Mapping[str, Tensor], places: Sequence[int], left: Mapping[int, Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Put those who left back in their places.

    Args:
        rows: of those who are in the batch, [those, ...] each.
        places: their places among all.
        left: one row of each tensor that a concept had when it left, by its place; where it has
            none (it left in stage 1 and knows no edit) zeros stand, an edit that does nothing.

    Returns:
        [all, ...] each.
    """
    tensors: dict[str, Tensor] = {}
    for name, own in rows.items():
        full = own.new_zeros(len(places) + len(left), *own.shape[1:])
        full[list(places)] = own
        for place, last in left.items():
            if name in last:
                full[place] = last[name]
        tensors[name] = full
    return tensors
