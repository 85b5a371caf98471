"""What a function of tensors calls, in order, taken down as a graph and freed of what does nothing.

Torch functions are taken down where Python calls them, above autograd, so a replay is
differentiated as the function is.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_aggregate
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from textreg.method.packed_convolutions import PackedConvolutions

Function = Callable[..., Tensor]

_FACTS = frozenset(
    {"shape", "size", "stride", "ndim", "dim", "numel", "dtype", "device", "is_contiguous"}
    | {"requires_grad", "is_floating_point", "is_cuda", "is_cpu", "is_mps", "__len__"}
)
"""What may be asked of a tensor: the same for all that a recording is of, unless a value decides on
a tensor's size."""
_IN_PLACE = re.compile(r".*[^_]_|__i(?!nvert|nt_|ndex).*__|__setitem__")
_MAY_RETURN_IT = frozenset({"to", "contiguous", "dropout", "float", "double", "bfloat16", "half"})
"""What gives the tensor itself where there is nothing to do."""
_CALLED_AS: dict[Any, Any] = {
    functional.group_norm: torch.group_norm,
    functional.layer_norm: torch.layer_norm,
    Tensor.unflatten: torch.unflatten,
    Tensor.__pow__: torch.pow,
}
"""Functions by those they end in: these take the same, and look at nothing first."""


def recording(
    function: Function, given: Sequence[Tensor], packed: PackedConvolutions | None = None
) -> Function:
    """A function of tensors like these that calls what this one calls.

    Args:
        function: of tensors.
        given: what it is called with.
        packed: where its convolutions are kept in the processor's order; none: they stay.

    Raises:
        RuntimeError: it asks for a value of a tensor, which may be another the next time, or
            changes a tensor in place.
    """
    # Each a tensor of its own, or one that is given twice would be one in the recording.
    own = [x.detach().requires_grad_(x.requires_grad) for x in given]
    recorder = _Recorder(own, packed)
    # What is refused may leave a `no_grad` half entered.
    with torch.set_grad_enabled(torch.is_grad_enabled()), recorder:
        found = function(*own)
    return recorder.replayed(found)


class _Recorder(TorchFunctionMode):
    def __init__(self, given: Sequence[Tensor], packed: PackedConvolutions | None):
        super().__init__()
        self._graph, self._constants, self._packed = Graph(), nn.Module(), packed
        self._known: dict[int, tuple[Tensor, Node]] = {}
        """By id, which is a tensor's own as long as it is kept."""
        for n, x in enumerate(given):
            self._known[id(x)] = x, self._graph.placeholder(f"given_{n}")

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call it, and take it down."""
        kwargs = kwargs or {}
        # Of a property's getter it is the property that has the name.
        property_of = func.__self__ if func.__name__ == "__get__" else None
        name = (property_of or func).__name__
        if _IN_PLACE.fullmatch(name) or kwargs.get("inplace") or "out" in kwargs:
            raise RuntimeError(f"it changes a tensor in place, by {name}")
        found = func(*args, **kwargs)
        if isinstance(found, Tensor):
            if args and found is args[0] and name in _MAY_RETURN_IT:
                return found
            node = self._node_of(args[0]) if _divides_by_one(name, args, kwargs) else None
            self._known[id(found)] = found, node or self._call(func, property_of, args, kwargs)
        elif isinstance(found, tuple | list) and all(isinstance(x, Tensor) for x in found):
            whole = self._call(func, property_of, args, kwargs)
            for n, x in enumerate(found):
                self._known[id(x)] = x, self._graph.call_function(operator.getitem, (whole, n))
        elif name not in _FACTS:
            raise RuntimeError(f"it asks a tensor for {name}")
        return found

    def _call(self, func: Any, property_of: Any, args: tuple[Any, ...], kwargs: Any) -> Node:
        if property_of is not None:
            return self._graph.call_function(
                getattr, (self._node_of(args[0]), property_of.__name__)
            )
        if func is torch.conv2d and self._packed is not None and self._constant(args[1]):
            quick = self._packed.in_place_of(*args, **kwargs)
            if quick is not None:
                x = self._node_of(args[0])
                # A packed convolution brings what it reads into its own layout.
                laid = x.args[0] if x.target is Tensor.contiguous and not x.kwargs else x
                return self._graph.call_function(quick, (laid,))
        given = map_aggregate((args, kwargs), self._node_of)
        return self._graph.call_function(_CALLED_AS.get(func, func), *given)

    def _node_of(self, value: Any) -> Any:
        """A tensor's node; what is none stays."""
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._known:
            name = f"constant_{len(self._known)}"
            setattr(self._constants, name, value)
            self._known[id(value)] = value, self._graph.get_attr(name)
        return self._known[id(value)][1]

    def _constant(self, value: Any) -> bool:
        """Whether a tensor is neither given nor computed."""
        return id(value) not in self._known or self._node_of(value).op == "get_attr"

    def replayed(self, found: Tensor) -> Function:
        """What calls all that was taken down, and gives what stands for this tensor."""
        self._graph.output(self._node_of(found))
        for node in reversed(self._graph.nodes):
            pure = node.target in (operator.getitem, Tensor.contiguous)
            if node.op == "call_function" and pure and not node.users:
                self._graph.erase_node(node)
        module = GraphModule(self._constants, self._graph)
        # As plain attributes they are found at once, and not by nn.Module's own search.
        constants = {**module._parameters, **module._buffers}
        module._parameters.clear()
        module._buffers.clear()
        vars(module).update(constants)
        return module.forward


def _divides_by_one(name: str, args: tuple[Any, ...], kwargs: Any) -> bool:
    if name not in ("div", "__truediv__") or kwargs or not isinstance(args[1], int | float):
        return False
    return args[0].is_floating_point() and args[1] == 1
