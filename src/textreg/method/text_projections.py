"""Text features to keys and values of every cross-attention layer, with a low-rank edit.

The one door through which text reaches the picture: K = W_K c, V = W_V c, linear in the text
features c, which depend on neither the noisy picture nor the timestep. So keys and values are
computed here, outside the denoiser, for N concepts at once (METHOD 4).

    N concepts, S samples each, T tokens, d text width, M projections, o_m width of projection m,
    r rank
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from textreg.method.attention_edit import AttentionEdit, Shapes, attention_shapes
from textreg.method.encoder_edit import encoder_shapes

_PROJECTION = re.compile(r"attn2\.to_[kv]$")


class LowRankEdit(nn.Module):
    """The edit dW_m = s B_m A_m of every projection m and concept n; B, and so dW, starts at 0.

    `down` holds A, [N, M, r, d]; `up` holds B by output width, so that one product serves every
    projection of that width, [N, projections of that width, o, r]; `places` says where projection
    m is: (width, index among its width).
    """

    def __init__(
        self, widths: Sequence[int], features: int, rank: int, concepts: int = 1, scale: float = 1.0
    ):
        super().__init__()
        self.rank, self.scale = rank, scale
        self.down = nn.Parameter(torch.zeros(concepts, len(widths), rank, features))
        self._members = {
            width: [m for m, w in enumerate(widths) if w == width] for width in sorted(set(widths))
        }
        self.places = [(width, self._members[width].index(m)) for m, width in enumerate(widths)]
        # Where projection m stands when those of each width follow those of the last.
        self.by_width: Tensor
        in_order = torch.tensor([m for members in self._members.values() for m in members])
        self.register_buffer("by_width", in_order.argsort(), persistent=False)
        self.up = nn.ParameterDict(
            {
                str(width): nn.Parameter(torch.zeros(concepts, len(members), width, rank))
                for width, members in self._members.items()
            }
        )

    @torch.no_grad()
    def initialise(self, generators: Sequence[torch.Generator]) -> None:
        """A ~ N(0, std 1/r) from each concept's own generator, B = 0 (METHOD 4)."""
        for n, random in enumerate(generators):
            draw = torch.randn(self.down.shape[1:], generator=random)
            self.down[n].copy_(draw / self.rank)
        for up in self.up.values():
            up.zero_()

    def forward(self, features: Tensor) -> list[Tensor]:
        """Compute dW c of every projection.

        Args:
            features: c, [N, S, T, d].

        Returns:
            M tensors [N, S, T, o_m].
        """
        low = self.scale * torch.einsum("nstd,nmrd->nmstr", features.to(self.down.dtype), self.down)
        # Taken apart at once: the gradient of one slice is as large as all.
        lows = low.unbind(1)
        each: dict[int, tuple[Tensor, ...]] = {}
        for width, members in self._members.items():
            own = torch.stack([lows[m] for m in members], dim=1)
            each[width] = torch.einsum("nmstr,nmor->nmsto", own, self.up[str(width)]).unbind(1)
        return [each[width][place] for width, place in self.places]

    def factors(self, concept: int) -> list[tuple[Tensor, Tensor]]:
        """(A [r, d], B [o, r]) of every projection, the scale multiplied into B; detached."""
        return [
            (down.detach(), self.scale * self.up[str(width)][concept, place].detach())
            for down, (width, place) in zip(self.down[concept], self.places, strict=True)
        ]

    @torch.no_grad()
    def load_factors(self, concept: int, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Set one concept's A and B; the inverse of `factors`."""
        for m, ((width, place), (down, up)) in enumerate(zip(self.places, pairs, strict=True)):
            self.down[concept, m].copy_(down)
            self.up[str(width)][concept, place].copy_(up / self.scale)


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
        found = [
            (name, module)
            for name, module in denoiser.named_modules()
            if _PROJECTION.search(name) and isinstance(module, nn.Linear)
        ]
        if not found:
            raise ValueError("this denoiser has no attn2.to_k and attn2.to_v: text cannot reach it")
        if any(module.bias is not None for _, module in found):
            raise ValueError("this denoiser's key and value projections have a bias; not supported")
        weights = [module.weight.detach().to(dtype) for _, module in found]
        return cls(
            [name for name, _ in found],
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
