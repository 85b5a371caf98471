"""Text features to keys and values of every cross-attention layer, with a low-rank edit.

The one door through which text reaches the picture: K = W_K c, V = W_V c, linear in the text
features c, which depend on neither the noisy picture nor the timestep. So keys and values are
computed here, outside the denoiser, for N concepts at once (METHOD 4).

    N concepts, S samples each, T tokens, d text width, M projections, o_m width of projection m,
    r rank
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from textreg.method.attention_edit import AttentionEdit, Shapes, attention_shapes
from textreg.method.encoder_edit import encoder_shapes

_PROJECTION = re.compile(r"attn2\.to_[kv]$")


def _text_linears(denoiser: nn.Module) -> dict[str, nn.Linear]:
    """`attn2.to_k` and `attn2.to_v` of a diffusers UNet, by name, in module order."""
    return {
        name: module
        for name, module in denoiser.named_modules()
        if _PROJECTION.search(name) and isinstance(module, nn.Linear)
    }


def drop_text_weights(denoiser: nn.Module) -> None:
    """Free a denoiser's own W_K and W_V, once they are gathered: it is told keys and values."""
    for module in _text_linears(denoiser).values():
        module.weight.data = module.weight.new_empty(0)


class LowRankEdit(nn.Module):
    """The edit dW_m = s B_m A_m of every projection m and concept n; B, and so dW, starts at 0.

    Projections of one width stand together, so that one product serves all of them: `places` says
    where projection m stands. `down` holds A, [N, M, r, d]; `up` holds B' of each, [r, o_m], one
    after the other, [N, r sum o_m]. Two tensors, as each costs an optimiser its calls.
    """

    def __init__(
        self, widths: Sequence[int], features: int, rank: int, concepts: int = 1, scale: float = 1.0
    ):
        super().__init__()
        self.rank, self.scale = rank, scale
        order = sorted(range(len(widths)), key=lambda m: widths[m])
        self.places = [order.index(m) for m in range(len(widths))]
        self._counts = dict(sorted(Counter(widths).items()))
        self.down = nn.Parameter(torch.zeros(concepts, len(widths), rank, features))
        self.up = nn.Parameter(torch.zeros(concepts, rank * sum(widths)))

    def by_width(self, up: Tensor) -> list[Tensor]:
        """Views of `up`, or of what has its shape: those of each width, [N, those, r, width]."""
        sizes = [count * self.rank * width for width, count in self._counts.items()]
        return [
            own.unflatten(1, (count, self.rank, width))
            for own, (width, count) in zip(
                up.split(sizes, dim=1), self._counts.items(), strict=True
            )
        ]

    def each(self, up: Tensor) -> list[Tensor]:
        """The same taken apart: B' of each projection, [N, r, o_m]."""
        return self._taken_apart(self.by_width(up))

    def squares(self, up: Tensor, dtype: torch.dtype) -> Tensor:
        """B'B of every projection where it stands, [N, M, r, r], computed in a type."""
        # Each width by itself: views of one tensor in another type would be multiplied one by one.
        ups = [own.to(dtype) for own in self.by_width(up)]
        return torch.cat([own @ own.mT for own in ups], dim=1)

    def _taken_apart(self, stacks: Iterable[Tensor]) -> list[Tensor]:
        """What stands by width, [N, those, ...], of each projection, in module order."""
        stood = [one for own in stacks for one in own.unbind(1)]
        return [stood[place] for place in self.places]

    @torch.no_grad()
    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """A ~ N(0, std 1/r) from each concept's own generator, B = 0 (METHOD 4)."""
        for n, random in enumerate(generators):
            draw = torch.randn(self.down.shape[1:], generator=random)
            self.down[n, self.places] = (draw / self.rank).to(self.down)
        self.up.zero_()

    def forward(self, features: Tensor) -> list[Tensor]:
        """Compute dW c of every projection.

        Args:
            features: c, [N, S, T, d].

        Returns:
            M tensors [N, S, T, o_m].
        """
        rows = features.to(self.down.dtype).flatten(1, 2)
        low = self.scale * (self.down.flatten(1, 2) @ rows.mT)  # [N, M r, S T]
        lows = low.unflatten(1, (-1, self.rank)).split(list(self._counts.values()), dim=1)
        # Taken apart at once: the gradient of one slice is as large as all.
        return self._taken_apart(
            (own.mT @ up).unflatten(2, features.shape[1:3])
            for own, up in zip(lows, self.by_width(self.up), strict=True)
        )

    def factors(self, concept: int) -> list[tuple[Tensor, Tensor]]:
        """(A [r, d], B [o, r]) of every projection, the scale multiplied into B; detached."""
        ups = self.each(self.up.detach())
        return [
            (self.down[concept, place].detach(), (self.scale * up[concept]).mT.contiguous())
            for place, up in zip(self.places, ups, strict=True)
        ]

    @torch.no_grad()
    def load_factors(self, concept: int, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Set one concept's A and B; the inverse of `factors`."""
        ups = self.each(self.up)
        for place, own, (down, up) in zip(self.places, ups, pairs, strict=True):
            self.down[concept, place].copy_(down)
            own[concept].copy_(up.mT / self.scale)


class TextProjections(nn.Module):
    """All frozen W_K, W_V of a denoiser, gathered, plus the edit if one is set.

    `names` are the projections' module names in module order, keys and values alternating.
    `elsewhere` are the shapes of attention's other projections, which read no text, and `encoders`
    those of the text encoders' attention; edits of them are carried along, and applied there.
    """

    def __init__(
        self,
        names: Sequence[str],
        widths: Sequence[int],
        weight: Tensor,
        edit: LowRankEdit | None = None,
        *,
        elsewhere: Shapes | None = None,
        attention: AttentionEdit | None = None,
        encoders: Shapes | None = None,
        encoder: AttentionEdit | None = None,
    ):
        super().__init__()
        self.names, self.widths = tuple(names), tuple(widths)
        self.weight: Tensor
        self.register_buffer("weight", weight)
        self.edit = edit
        self.elsewhere: Shapes = elsewhere or {}
        self.attention = attention
        self.encoders: Shapes = encoders or {}
        self.encoder = encoder

    @classmethod
    def from_denoiser(
        cls,
        denoiser: nn.Module,
        dtype: torch.dtype = torch.float32,
        encoders: Sequence[tuple[int, int]] = (),
    ) -> TextProjections:
        """Gather `attn2.to_k` and `attn2.to_v` of a diffusers UNet.

        Args:
            denoiser: the UNet.
            dtype: of what is gathered.
            encoders: (layers, width) of each text encoder, where these may be edited too.

        Raises:
            ValueError: the denoiser has no cross-attention, or its projections have a bias.
        """
        found = _text_linears(denoiser)
        if not found:
            raise ValueError("this denoiser has no attn2.to_k and attn2.to_v: text cannot reach it")
        if any(module.bias is not None for module in found.values()):
            raise ValueError("this denoiser's key and value projections have a bias; not supported")
        weights = [module.weight.detach().to(dtype) for module in found.values()]
        return cls(
            list(found),
            [len(w) for w in weights],
            torch.cat(weights),
            elsewhere=attention_shapes(denoiser),
            encoders=encoder_shapes(encoders),
        )

    def with_edit(
        self,
        edit: LowRankEdit | None,
        attention: AttentionEdit | None = None,
        encoder: AttentionEdit | None = None,
    ) -> TextProjections:
        """The same frozen weights, shared and not copied, with edits of them and of others."""
        return TextProjections(
            self.names,
            self.widths,
            self.weight,
            edit,
            elsewhere=self.elsewhere,
            attention=attention,
            encoders=self.encoders,
            encoder=encoder,
        )

    @property
    def features(self) -> int:
        """Width d of the text features."""
        return self.weight.shape[1]

    def check_rank(self, rank: int) -> None:
        """Refuse a rank that no edit of these projections can have.

        Raises:
            ValueError: it is larger than the smallest side of a projection.
        """
        largest = min(self.features, *self.widths)
        if rank > largest:
            raise ValueError(f"rank {rank} is too large for this base; the most is {largest}")

    def new_edit(self, rank: int, concepts: int = 1, scale: float = 1.0) -> LowRankEdit:
        """A zero edit of these projections' shapes, on their device and type.

        Raises:
            ValueError: the rank is larger than the smallest side of a projection.
        """
        self.check_rank(rank)
        edit = LowRankEdit(self.widths, self.features, rank, concepts, scale)
        return edit.to(self.weight.device, self.weight.dtype)

    def forward(self, features: Tensor, gate: Tensor | None = None) -> list[Tensor]:
        """Keys and values of every layer: K_1, V_1, K_2, V_2, ...

        Args:
            features: c, [N, S, T, d]; sample s of concept n is edited by concept n's edit.
            gate: g, [N, S, T], the tokens that the edit acts on; none: all.

        Returns:
            M tensors [N S, T, o_m].
        """
        base = (features.to(self.weight.dtype) @ self.weight.T).split(self.widths, dim=-1)
        if self.edit is not None:
            # The edit is linear: g dW c = dW (g c).
            edited = features if gate is None else features * gate[..., None].to(features.device)
            base = [b + e for b, e in zip(base, self.edit(edited), strict=True)]
        return [b.flatten(0, 1) for b in base]
