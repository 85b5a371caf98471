"""What a function of tensors computes, forward and back, as two lists of operators.

They are taken down below autograd, so that a replay is one function with its gradient: between the
two lists it keeps what the second reads, and nothing else. Operators that do nothing, and those
whose result is the same each time, are left out.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_aggregate
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from textreg.method.packed_convolutions import (
    PackedConvolution,
    PackedConvolutions,
    PointwiseConvolution,
)
from textreg.method.replay import Replay, ReplayWithGradient

Function = Callable[..., Tensor]

_TORCH: Any = torch
_ATEN: Any = torch.ops.aten


def recording(
    function: Function, given: Sequence[Tensor], packed: PackedConvolutions | None = None
) -> Replay:
    """A function of tensors like these that calls what this one calls.

    Args:
        function: of tensors.
        given: what it is called with; where gradients are on, the replay has those of the ones that
            require them.
        packed: where its convolutions are kept in the processor's order; none: they stay.

    Raises:
        RuntimeError: it asks for a value of a tensor, which may be another the next time, changes a
            tensor in place, or reads one that is trained and not given.
    """
    # Or one that is given twice would be one in the recording.
    own = [apart(x).requires_grad_(x.requires_grad) for x in given]
    asked = [x for x in own if x.requires_grad and torch.is_grad_enabled()]
    recorder = _Recorder(own, packed)
    with _Undivided(), recorder:
        value = function(*own)
        if not asked:
            return Replay(recorder.forward(value))
        gradient = value.detach().clone()
        recorder.turn(gradient)
        back = recorder.backward(torch.autograd.grad(value, asked, gradient))
        return ReplayWithGradient(recorder.forward(value), back, gradient)


def apart(x: Tensor) -> Tensor:
    """The same numbers in the same layout, in memory of their own, without a gradient."""
    if 0 in x.stride():
        return x.detach().clone()
    laid = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)
    return laid.copy_(x.detach())


class _Undivided(TorchFunctionMode):
    """Leaves a division by 1 out, and so its gradient too."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call it, if it does something."""
        if func.__name__ in ("div", "__truediv__") and len(args) == 2 and not kwargs:
            x, by = args
            if isinstance(by, int | float) and by == 1 and x.is_floating_point():
                return x
        return func(*args, **(kwargs or {}))


_Which = tuple[Any, ...]


def _which(x: Tensor) -> _Which:
    """What tells a tensor from others that live: autograd hands back what it saved as another."""
    return x.data_ptr(), x.shape, x.stride(), x.dtype


class _Recorder(TorchDispatchMode):
    def __init__(self, given: Sequence[Tensor], packed: PackedConvolutions | None):
        super().__init__()
        self._forward = self._graph = Graph()
        self._constants, self._packed = nn.Module(), packed
        self._convolutions: dict[_Which, PackedConvolution | PointwiseConvolution] = {}
        self._nodes: dict[_Which, tuple[Node, StorageWeakRef]] = {}
        """Of tensors that are given or computed, and of constants that something reads. They are
        not kept, or autograd would not add in place; freed memory may be another's."""
        self._taken: dict[Node, Node] = {}
        """Of what is computed forward and read on the way back, where it is taken from the list."""
        for n, x in enumerate(given):
            self._stands_for(self._graph.placeholder(f"given_{n}"), x)

    def turn(self, gradient: Tensor) -> None:
        """From here on it goes back, from the value's gradient."""
        self._graph = Graph()
        self._saved = self._graph.placeholder("saved")
        self._stands_for(self._graph.placeholder("gradient"), gradient)

    def backward(self, gradients: Sequence[Tensor]) -> GraphModule:
        """All since `turn`: takes what it reads from a list, whose last is read first."""
        return self._module([self._node_of(x) for x in gradients])

    def forward(self, value: Tensor) -> GraphModule:
        """All before: gives the value, and the list that `backward` takes from."""
        back = set(self._graph.nodes)
        taken = [own for own, there in self._taken.items() if there in back]
        self._graph = self._forward
        own = self._node_of(value)
        # The value keeps what is saved: itself not, or neither would be freed.
        saved = [self._graph.call_method("detach", (n,)) if n is own else n for n in taken[::-1]]
        return self._module((own, saved))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call it, and take it down."""
        kwargs = kwargs or {}
        name, changes = _name(func), func._schema.is_mutable
        if changes and not self._adds_gradients(func, args[0]):
            raise RuntimeError(f"it changes a tensor in place, by {name}")
        if _has_size_by_value(func, args):
            raise RuntimeError(f"it asks for a value of a tensor, by {name}")
        found = func(*args, **kwargs)
        if not _is_of_tensors(found):
            raise RuntimeError(f"it asks for a value of a tensor, by {name}")
        read = _tensors((args, kwargs))
        if not changes and isinstance(found, Tensor) and _which(found) in map(_which, read):
            return found  # the same numbers in the same place
        if not all(map(self._is_constant, read)):
            self._take_down(func, args, kwargs, found)
        return found

    def _adds_gradients(self, func: Any, to: Tensor) -> bool:
        """Whether autograd adds to what it has computed itself."""
        node = self._known(to)
        if func is not _ATEN.add_.Tensor or node is None or node.graph is self._forward:
            return False
        return node.op == "call_function"

    def _is_constant(self, x: Tensor) -> bool:
        """Whether a tensor is neither given nor computed from what is."""
        node = self._known(x)
        return node is None or node.op == "get_attr"

    def _known(self, x: Tensor) -> Node | None:
        node, memory = self._nodes.get(_which(x), (None, None))
        return None if memory is None or memory.expired() else node

    def _stands_for(self, node: Node, x: Tensor) -> None:
        self._nodes[_which(x)] = node, StorageWeakRef(x.untyped_storage())

    def _take_down(self, func: Any, args: tuple[Any, ...], kwargs: Any, found: Any) -> None:
        if (quick := self._packed_call(func, args)) is not None:
            node = self._graph.call_function(quick, (self._uncopied(args[0]),))
            self._stands_for(node, found if isinstance(found, Tensor) else found[0])
            return
        given = map_aggregate((args, kwargs), self._node_of)
        node = self._graph.call_function(_called_as(func), *given)
        if isinstance(found, Tensor):
            self._stands_for(node, found)
            return
        for n, x in enumerate(found):
            if x is not None:
                self._stands_for(self._graph.call_function(operator.getitem, (node, n)), x)

    def _packed_call(self, func: Any, args: tuple[Any, ...]) -> Function | None:
        """What a packed convolution does in place of torch's or of its gradient; none: it stays."""
        if self._packed is None:
            return None
        if func is _ATEN.convolution_backward.default:
            known = self._convolutions.get((_which(args[2]), args[1].shape))
            return None if known is None else known.backward
        if func is not _ATEN.convolution.default:
            return None
        x, weight, bias, stride, padding, dilation, transposed, _, groups = args
        if transposed or not all(self._is_constant(w) for w in (weight, bias) if w is not None):
            return None
        own = self._packed.in_place_of(x, weight, bias, stride, padding, dilation, groups)
        if own is None:
            return None
        self._convolutions[_which(weight), x.shape] = own
        return own.forward

    def _uncopied(self, x: Tensor) -> Node:
        """What a packed convolution reads, which brings it into its own layout itself."""
        node = self._node_of(x)
        plain = {"memory_format": torch.contiguous_format}
        copied = node.target is torch.clone and node.kwargs == plain
        return self._here(node.all_input_nodes[0]) if copied else node

    def _node_of(self, x: Any) -> Any:
        """A tensor's node in the list that is being taken down; what is none stays."""
        if not isinstance(x, Tensor):
            return x
        node = self._known(x)
        if node is None:
            if x.requires_grad and torch.is_grad_enabled():
                raise RuntimeError("it reads a tensor that is trained and not given")
            name = f"constant_{len(vars(self._constants))}"
            setattr(self._constants, name, x.detach())
            node = self._graph.get_attr(name)
            self._stands_for(node, x)
        return self._here(node)

    def _here(self, node: Node) -> Node:
        if node.graph is self._graph:
            return node
        if node.op == "get_attr":
            return self._graph.get_attr(str(node.target))
        if node not in self._taken:
            self._taken[node] = self._graph.call_method("pop", (self._saved,))
        return self._taken[node]

    def _module(self, found: Any) -> GraphModule:
        """A list of operators with its constants, without those that nothing reads."""
        self._graph.output(found)
        for node in reversed(self._graph.nodes):
            if node.op not in ("placeholder", "output") and not node.users:
                self._graph.erase_node(node)
        module = GraphModule(self._constants, self._graph)
        # As plain attributes they are found at once, and not by nn.Module's own search.
        constants = {**module._parameters, **module._buffers}
        module._parameters.clear()
        module._buffers.clear()
        vars(module).update(constants)
        return module


def _tensors(values: Any) -> list[Tensor]:
    """All that are in lists and tuples."""
    found: list[Tensor] = []

    def look(x: Any) -> Any:
        if isinstance(x, Tensor):
            found.append(x)
        return x

    map_aggregate(values, look)
    return found


def _has_size_by_value(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether numbers decide on a result's size; of indices those that say yes or no."""
    if func is _ATEN.index.Tensor:
        return any(x.dtype == torch.bool for x in _tensors(args[1]))
    return torch.Tag.dynamic_output_shape in func.tags


def _is_of_tensors(found: Any) -> bool:
    """Whether a result is a tensor or a list of them, of which some may be missing."""
    several = isinstance(found, list | tuple)
    return all(x is None or isinstance(x, Tensor) for x in (found if several else [found]))


def _name(operator_of_aten: Any) -> str:
    return operator_of_aten._schema.name.removeprefix("aten::")


def _called_as(operator_of_aten: Any) -> Any:
    """The function of torch's that calls an operator, which is called sooner; else itself."""
    for place in (_TORCH, _TORCH._C._nn, Tensor):
        found = getattr(place, _name(operator_of_aten), None)
        if isinstance(found, BuiltinFunctionType | MethodDescriptorType):
            return found
    return operator_of_aten
