"""A function of tensors as the list of its operators, without the modules around them.

Of a small model's pass on a processor a seventh is Python between operators, and operators that
change nothing. Both are gone from a recording; what is left is the same operators in the same
order, so values and gradients are the same to the last bit. That is checked before one counts.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from textreg.method.packed_convolutions import PackedConvolutions

COMES_BACK = 64
"""Passes of a shape after which it is recorded. A choice: recording takes a second, as much as some
250 passes of a small denoiser win."""
_SLOW = 0.25
"""Seconds of a pass from which it is not recorded. A choice: what Python costs of it is a fiftieth
and less, and recording takes several passes."""
_MOST = 8
"""Shapes that are recorded. A choice: each takes some 8 MiB."""

_ATEN = torch.ops.aten
_CALLED_AS: dict[Any, Callable[..., Any]] = {
    _ATEN.linear.default: functional.linear,
    _ATEN.conv2d.default: torch.conv2d,
    _ATEN.group_norm.default: torch.group_norm,
    _ATEN.layer_norm.default: torch.layer_norm,
    _ATEN.silu.default: functional.silu,
    _ATEN.gelu.default: functional.gelu,
    _ATEN.add.Tensor: torch.add,
    _ATEN.mul.Tensor: torch.mul,
    _ATEN.div.Tensor: torch.div,
    _ATEN.matmul.default: torch.matmul,
    _ATEN.cat.default: torch.cat,
    _ATEN.transpose.int: torch.transpose,
    _ATEN.permute.default: torch.permute,
    _ATEN.reshape.default: torch.reshape,
    _ATEN.unsqueeze.default: torch.unsqueeze,
    _ATEN.chunk.default: torch.chunk,
    _ATEN.view.default: Tensor.view,
    _ATEN.expand.default: Tensor.expand,
}
"""Operators by the functions that call them in less time than their recorded names do."""

Function = Callable[..., Tensor]
_one_at_a_time = threading.Lock()  # torch.fx changes nn.Module while it records


class RecordedPasses:
    """A function of tensors that is recorded for each shape that comes back, and then replayed."""

    def __init__(self, name: str):
        """Record nothing yet; `name`: of the function, for the user."""
        self._name = name
        self._seen: Counter[Any] = Counter()
        self._recorded: dict[Any, Function | None] = {}
        """None: not worth it, or not possible."""
        self._packed = PackedConvolutions()

    def __call__(self, function: Function, *given: Tensor) -> Tensor:
        """As the function, to the last bit.

        Args:
            function: the same at each call; what it reads beside its tensors must stay in its
                place, and no hooks may come later.
            given: what it is called with.
        """
        shape = (
            torch.is_grad_enabled(),
            *((x.shape, x.stride(), x.dtype, x.requires_grad) for x in given),
        )
        if shape not in self._recorded:
            self._seen[shape] += 1
            if self._seen[shape] <= COMES_BACK or len(self._recorded) >= _MOST:
                begun = time.perf_counter()
                found = function(*given)
                if self._seen[shape] == COMES_BACK and time.perf_counter() - begun > _SLOW:
                    self._recorded[shape] = None
                return found
            self._recorded[shape] = self._checked(function, given)
        return (self._recorded[shape] or function)(*given)

    def _checked(self, function: Function, given: Sequence[Tensor]) -> Function | None:
        """A recording that gave the same; else none, with a line that says so."""
        why = ""
        # Packed convolutions are the same kernels here, but perhaps not on every processor.
        for packed in (self._packed, None):
            try:
                with _one_at_a_time:
                    recorded = recording(function, given, packed)
                if _same(recorded, function, given):
                    return recorded
                why = "a recording of it computes something else"
            except (RuntimeError, TypeError, ValueError, AssertionError) as error:
                why = str(error).strip().split("\n", 1)[0] or type(error).__name__
        print(f"textreg: {self._name} runs operator by operator, slower ({why})", file=sys.stderr)
        return None


def recording(
    function: Function, given: Sequence[Tensor], packed: PackedConvolutions | None = None
) -> Function:
    """The operators that a function calls of tensors like these, without those that do nothing.

    Args:
        function: of tensors.
        given: what it is called with.
        packed: where its convolutions are kept in the processor's order; none: they stay.

    Raises:
        RuntimeError: it asks for a value of a tensor.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    # Each a tensor of its own, or one that is given twice would be one in the recording.
    own = [x.detach().requires_grad_(x.requires_grad) for x in given]
    module = make_fx(function, pre_dispatch=True)(*own)
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if _does_nothing(node):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
        if packed is not None and node.target is _ATEN.conv2d.default:
            _pack(node, module, packed)
        node.target = _CALLED_AS.get(node.target, node.target)
    module.recompile()
    return module.forward


def _pack(node: Any, module: Any, packed: PackedConvolutions) -> None:
    x, *rest = node.args
    rest = [getattr(module, str(n.target)) if isinstance(n, Node) else n for n in rest]
    quick = packed.in_place_of(x.meta["val"], *rest)
    if quick is None:
        return
    # A packed convolution brings what it reads into its own layout.
    laid = x.args[0] if x.target is _ATEN.contiguous.default else x
    node.target, node.args = quick, (laid,)
    if not x.users:
        module.graph.erase_node(x)


def _does_nothing(node: Any) -> bool:
    """Whether what an operator gives is what it was given, bit for bit."""
    if node.target is _ATEN.dropout.default:
        return not node.args[2]
    if node.target is _ATEN.div.Tensor:
        floating = node.args[0].meta["val"].is_floating_point()
        return floating and node.args[1] == 1.0 and not node.kwargs
    if node.target is _ATEN.to.dtype and len(node.args) == 2:
        return node.args[0].meta["val"].dtype == node.args[1]
    return False


def values_and_gradients(function: Function, given: Sequence[Tensor]) -> list[list[Tensor]]:
    """A function's value, and the gradients of its sum where any are wanted."""
    leaves = [x.detach().requires_grad_(x.requires_grad) for x in given]
    value = function(*leaves)
    asked = [x for x in leaves if x.requires_grad]
    if not asked or not torch.is_grad_enabled():
        return [[value], []]
    return [[value.detach()], list(torch.autograd.grad(value, asked, torch.ones_like(value)))]


def _same(ours: Function, theirs: Function, given: Sequence[Tensor]) -> bool:
    pairs = zip(values_and_gradients(ours, given), values_and_gradients(theirs, given), strict=True)
    return all(
        _same_bits(a, b) for found, wanted in pairs for a, b in zip(found, wanted, strict=True)
    )


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are of one type and equal, signs of zeros too; what is no number is."""
    equal = (a == b) & (a.signbit() == b.signbit())
    return a.dtype == b.dtype and bool((equal | (a.isnan() & b.isnan())).all())
