"""The gradient engine: per-example gradients of every parameter from one ordinary backward pass.

`GradientTap` watches the forward pass. Each torch function that is handed a followed parameter is replaced
by a stand-in with the same result that also remembers its input; when the backward pass reaches the
function's output, the gradient arriving there and that input give the per-example gradients of the
function's parameters, which are sent to a sink block by block and dropped. [B, P] never exists, and the
parameters themselves need no gradient, so that no batched weight gradient is computed. Because functions
are watched, not modules, subclasses and unusual modules are covered too; a use without stand-in is
reported, never lost (see `coverage.py`).
"""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from grasp_ray.influence.delivery import Delivery, SharedRows
from grasp_ray.influence.layers.broadcast import BroadcastUse, can_broadcast
from grasp_ray.influence.layers.registry import EXPANSIONS, PRODUCTS, RESHAPES, STAND_INS, SUMS
from grasp_ray.influence.layers.use import GradientSink, ParameterUse


class GradientTap(TorchFunctionMode):
    """Follows `parameters` through one forward pass and sends their per-example gradients to `sink`.

    Use: `with tap: loss_B = …`, then `tap.backward(loss_B.sum())`. The parameters must be frozen.
    """

    def __init__(self, parameters: Mapping[str, Tensor], examples: int, sink: GradientSink):
        super().__init__()
        assert not any(tensor.requires_grad for tensor in parameters.values()), "freeze the parameters"
        self.unknown_uses: dict[str, str] = {}
        """Parameters that entered a function without stand-in, with that function's name."""
        self.overwritten: set[str] = set()
        """Parameters whose layer's input was changed in place before the backward pass came by."""
        self._names = {id(tensor): name for name, tensor in parameters.items()}
        self._sizes = {name: tensor.numel() for name, tensor in parameters.items()}
        self._views = dict(self._names)  # with the parameters' reshaped views
        self._kept_alive: list[Tensor] = []  # an id is only unique while its tensor lives
        self._dtype = next((tensor.dtype for tensor in parameters.values()), torch.float32)
        self._delivery = Delivery(sink, examples)
        self._shared: SharedRows | None = None

    @contextmanager
    def rows_shared(self, shared: SharedRows) -> Iterator[None]:
        """Within: the leading dimension counts `shared.rows`, not examples."""
        self._shared = shared
        try:
            yield
        finally:
            self._shared = None

    def backward(self, total: Tensor) -> None:
        """Run the backward pass of a summed loss, during which the sink receives all gradients."""
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
        self._delivery.flush()

    @property
    def _rows(self) -> int:
        return self._delivery.examples if self._shared is None else self._shared.rows

    # --- forward: what happens to a parameter ----------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        followed = self._followed(args, kwargs)
        if not followed:
            return func(*args, **kwargs)
        stood_in = self._stand_in(func, args, kwargs)
        if stood_in is not None and self._is_separable(followed, *stood_in):
            return self._watch(*stood_in)
        result = func(*args, **kwargs)
        if self._is_reshaped(func, args, result):
            self._views[id(result)] = next(iter(followed))
            self._kept_alive.append(result)
        elif _holds_tensor(result):
            self.unknown_uses.update(dict.fromkeys(followed, getattr(func, "__name__", str(func))))
        return result

    def _followed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[str]:
        found = set()
        for value in (*args, *kwargs.values()):
            for item in value if isinstance(value, list | tuple) else (value,):
                name = self._views.get(id(item))
                if name is not None:
                    found.add(name)
        return found

    def _stand_in(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Tensor, ParameterUse] | None:
        if func in STAND_INS:
            return STAND_INS[func](self._names, *args, **kwargs)
        if func in EXPANSIONS:
            output = args[0].detach().expand(*args[1:], **kwargs)
            return self._broadcast(output, args[0], None)
        if (func in PRODUCTS or func in SUMS) and len(args) == 2 and not kwargs:
            first_is_parameter = id(args[0]) in self._views
            parameter, other = args if first_is_parameter else (args[1], args[0])
            if isinstance(other, Tensor):
                factor = other.detach() if func in PRODUCTS else None
                return self._broadcast(func(*args), parameter, factor)
        return None

    def _is_separable(self, followed: set[str], output: Tensor, use: ParameterUse) -> bool:
        """Whether all followed arguments are the use's parameters and the rows can belong to examples."""
        return set(use.parameters) == followed and output.ndim > 0 and output.shape[0] % self._rows == 0

    def _broadcast(
        self, output: Tensor, parameter: Tensor, factor: Tensor | None
    ) -> tuple[Tensor, ParameterUse] | None:
        if not can_broadcast(output, parameter.shape, self._rows):
            return None
        if factor is not None and factor.shape != output.shape:
            return None
        return output, BroadcastUse(self._views[id(parameter)], parameter.shape, factor)

    def _is_reshaped(self, func: Any, args: tuple[Any, ...], result: Any) -> bool:
        if not isinstance(result, Tensor) or not args:
            return False
        return result is args[0] or (func in RESHAPES and id(args[0]) in self._views)

    # --- backward: what a use sends --------------------------------------------------------------

    def _watch(self, output: Tensor, use: ParameterUse) -> Tensor:
        """Have `use` send its gradients when the backward pass reaches `output`."""
        if not output.requires_grad:
            output = _with_graph(output)
        for name in use.parameters:
            self._delivery.expect(name, self._sizes[name])
        rows, entrance = self._rows, self._delivery.entrance(self._shared)
        waiting = [(use, _versions(use))]

        def on_gradient(gradient: Tensor) -> None:
            reached, versions = waiting.pop()  # the graph outlives this call, the saved input need not
            if _versions(reached) != versions:
                self.overwritten.update(reached.parameters)
            else:
                reached = _in_precision(reached, self._dtype)
                reached.emit(gradient.to(self._dtype), rows, entrance)

        del use
        output.register_hook(on_gradient)  # type: ignore[no-untyped-call]
        return output


class _BeginGraph(torch.autograd.Function):
    """Identity at which a graph begins, although the inputs need no gradient and parameters are frozen.

    The result is no leaf, so that a following activation may work in place.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, root: Tensor) -> Tensor:
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        return None, None


def _in_precision(use: ParameterUse, dtype: torch.dtype) -> ParameterUse:
    """`use` with its saved activations in the parameters' precision; autocast may have lowered it."""
    lowered = {
        name: value.to(dtype)
        for name, value in vars(use).items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != dtype
    }
    return dataclasses.replace(use, **lowered) if lowered else use  # type: ignore[type-var]


def _versions(use: ParameterUse) -> list[int]:
    """How often each saved tensor was changed in place."""
    return [value._version for value in vars(use).values() if isinstance(value, Tensor)]


def _with_graph(output: Tensor) -> Tensor:
    if output._is_view():  # an expanded parameter, made by the tap itself
        return output.requires_grad_()
    root = torch.zeros((), device=output.device, requires_grad=True)
    begun: Tensor = _BeginGraph.apply(output, root)
    return begun


def _holds_tensor(result: Any) -> bool:
    if isinstance(result, list | tuple):
        return any(isinstance(item, Tensor) for item in result)
    return isinstance(result, Tensor)
