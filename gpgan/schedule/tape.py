"""Records the operations of one forward pass.

The critic's Python code (branches, attributes, hooks) runs at every step, so the record is never out of date. A critic
that uses an operation not known here is ``Unsupported`` and takes the general path.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from gpgan import torch_private
from gpgan.pruning import convolution, operators
from gpgan.schedule.maps import Activation, Convolution, Linear, Map, Reshape, Rowwise, Sum

aten = torch.ops.aten


class Unsupported(Exception):
    """The critic uses an operation that the explicit schedule does not know."""


# What may be read of a value: its form (shape, dtype, ...), never its numbers.
HARMLESS = torch_private.functions_of_form() | {
    getattr(Tensor, name)
    for name in (
        *("size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "is_floating_point"),
        *("__len__", "get_device", "element_size", "is_complex"),
    )
}
HARMLESS |= {getattr(Tensor, name).__get__ for name in ("shape", "ndim", "device", "dtype", "is_cuda", "layout")}
# The tape runs without autograd, so requires_grad would be different from a script's.
HARMLESS -= {Tensor.requires_grad.__get__}  # type: ignore[attr-defined]


class Tape(TorchFunctionMode):
    """Within the block, records in ``maps`` the operations on ``batch`` and on the values computed from it."""

    def __init__(self, batch: Tensor) -> None:
        super().__init__()
        self.maps: list[Map] = []
        self.learned = [False]  # by number of the value: whether it depends on a parameter
        self.failure: str | None = None
        self._device = batch.device.type
        self.casts_to = self._autocast()
        self._numbers: dict[int, int] = {}  # by id of a tensor
        self._values: list[weakref.ref[Tensor]] = []  # the id of a freed tensor may be used again
        self._versions: list[int | None] = []
        # The tape runs without autograd, so a critic that reads or switches grad mode is unsupported.
        self._grad_mode = torch_private.grad_mode_functions() | {torch.is_grad_enabled}
        self._kept: set[int] = set()  # addresses of memory that the sweeps will read
        self._name(batch)
        self.keep(batch)

    def _autocast(self) -> torch.dtype | None:
        """The dtype that autocast converts a product's arguments to; None if it is off."""
        return torch.get_autocast_dtype(self._device) if torch.is_autocast_enabled(self._device) else None

    def same_autocast(self) -> None:
        """Raises if the critic has switched autocast itself: the sweeps would not follow."""
        if self._autocast() != self.casts_to:
            raise Unsupported("autocast switched within the critic")

    def _name(self, value: Tensor) -> int:
        number = len(self._values)
        self._values.append(weakref.ref(value))
        self._versions.append(torch_private.version(value))
        self._numbers[id(value)] = number
        return number

    def number(self, value: Any) -> int:
        """The number of a value that was computed from the batch and not changed since."""
        number = self._numbers.get(id(value))
        if number is None or self._values[number]() is not value:
            raise Unsupported("a tensor that does not come from the critic's input")
        assert isinstance(value, Tensor)
        version = torch_private.version(value)
        if version is None or version != self._versions[number]:
            raise Unsupported("a value that was changed in place")
        return number

    def keep(self, value: Tensor) -> None:
        self._kept.add(value.untyped_storage().data_ptr())

    def may_change(self, value: Tensor) -> None:
        """Raises if changing value in place would also change memory that a map has kept."""
        if value.untyped_storage().data_ptr() in self._kept:
            raise Unsupported("a change in place of a value that is still needed")

    def numbered(self, map: Map, result: Tensor, inputs: tuple[int, ...]) -> Tensor:
        """Records that map computed result from the values with these numbers, read before any change in place."""
        map.inputs = inputs
        map.output = self._name(result)
        self.learned.append(map.learned or any(self.learned[i] for i in inputs))
        self.maps.append(map)
        return result

    def form(self) -> tuple[tuple[type, tuple[int, ...]], ...]:
        """The structure of the run: the type of each map and the numbers of its inputs."""
        return tuple((type(map), map.inputs) for map in self.maps)

    def _touches(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor):
                number = self._numbers.get(id(value))
                if number is not None and self._values[number]() is value:
                    return True
            elif isinstance(value, (list, tuple)) and self._touches(value, {}):
                return True
        return False

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        recorder = RECORDERS.get(func)
        if recorder is None and (func in HARMLESS or not (func in self._grad_mode or self._touches(args, kwargs))):
            return func(*args, **kwargs)
        try:
            if recorder is None:
                raise Unsupported(f"{resolve_name(func) or func}")
            return recorder(self, *args, **kwargs)
        except Unsupported as reason:
            self.failure = self.failure or str(reason)  # even if the critic catches the exception
            raise


def _parameter(value: Any, name: str) -> Any:
    # A weight that is computed from parameters, as by spectral norm, is not a leaf and has a derivative of its own.
    if type(value) is not nn.Parameter:
        raise Unsupported(f"a {name} that is not a plain parameter")
    if torch_private.has_gradient_hooks(value):
        raise Unsupported("a parameter with hooks")
    return value


def _cast(tape: Tape, x: Tensor) -> tuple[Tensor, int]:
    """x, converted as autocast converts a product's arguments, and its number."""
    number = tape.number(x)
    tape.same_autocast()
    dtype = tape.casts_to
    if dtype is None or x.dtype in (dtype, torch.float64):
        return x, number
    cast = x.to(dtype)
    tape.numbered(Rowwise(x, lambda value: value.to(dtype)), cast, (number,))
    return cast, tape.number(cast)


def _linear(tape: Tape, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, number = _cast(tape, input)
    map = Linear(x, _parameter(weight, "weight"), None if bias is None else _parameter(bias, "bias"))
    tape.keep(x)
    return tape.numbered(map, map.run(), (number,))


def _convolution(read: Callable[..., convolution.Call | None]) -> Callable[..., Tensor]:
    def record(tape: Tape, *args: Any, **kwargs: Any) -> Tensor:
        call = read(*args, **kwargs)
        if call is None:
            raise Unsupported("a convolution of a sample without batch or with unequal padding")
        x, number = _cast(tape, call.input)
        bias = None if call.bias is None else _parameter(call.bias, "bias")
        map = Convolution(x, _parameter(call.weight, "weight"), bias, call.geometry)
        tape.keep(x)
        return tape.numbered(map, map.run(), (number,))

    return record


def _activate(tape: Tape, input: Tensor, inplace: bool, run: Any, run_: Any, backward: Any, *arguments: Any) -> Tensor:
    number = tape.number(input)
    if inplace:
        tape.may_change(input)
    result = (run_ if inplace else run)(input)
    tape.keep(result)
    return tape.numbered(Activation(result, backward, *arguments), result, (number,))


def _relu(tape: Tape, input: Tensor, inplace: bool = False) -> Tensor:
    return _activate(tape, input, inplace, torch.relu, torch.relu_, aten.threshold_backward, 0)


def _leaky_relu(tape: Tape, input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    if negative_slope <= 0:
        raise Unsupported("a leaky_relu whose result does not determine its slope")
    return _activate(
        tape,
        input,
        inplace,
        lambda x: F.leaky_relu(x, negative_slope),
        lambda x: F.leaky_relu_(x, negative_slope),
        aten.leaky_relu_backward,
        *(negative_slope, True),
    )


def _hardtanh(tape: Tape, input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    return _activate(
        tape,
        input,
        inplace,
        lambda x: F.hardtanh(x, min_val, max_val),
        lambda x: F.hardtanh_(x, min_val, max_val),
        aten.hardtanh_backward,
        *(min_val, max_val),
    )


def _reshape(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def record(tape: Tape, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        number = tape.number(input)
        result = operator(input, *args, **kwargs)
        if result is input:
            return result
        if result.dim() == 0 or len(result) != len(input):
            raise Unsupported("a reshape across samples")
        return tape.numbered(Reshape(input, result), result, (number,))

    return record


def _sum(subtract: bool, inplace: bool) -> Callable[..., Tensor]:
    def record(tape: Tape, input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
        numbers = tape.number(input), tape.number(other)
        if alpha != 1 or input.shape != other.shape or input.dtype != other.dtype:
            raise Unsupported("a sum of terms that differ in shape, dtype or factor")
        if inplace:
            tape.may_change(input)
            result = input.sub_(other) if subtract else input.add_(other)
        else:
            result = input - other if subtract else input + other
        return tape.numbered(Sum(subtract), result, numbers)

    return record


def _is_full(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def _keeps_rows(input: Tensor, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a linear operator acts on each row alike and not across rows."""
    if name == "getitem":
        (key,) = args
        return isinstance(key, tuple) and _is_full(key[0]) and all(isinstance(k, (int, slice)) for k in key)
    if name == "reduce":
        dims = kwargs.get("dim", args[0] if args else None)
        dims = [dims] if isinstance(dims, int) else dims
        return bool(dims) and all(d % input.dim() != 0 for d in dims) and "dtype" not in kwargs
    if name == "factor":
        (other,) = args
        return isinstance(other, (int, float)) and not kwargs
    return input.dim() > 2


def _rowwise(name: str, operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def record(tape: Tape, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        number = tape.number(input)
        if not _keeps_rows(input, name, args, kwargs):
            raise Unsupported(f"{getattr(operator, '__name__', operator)} across samples, or of more than one value")

        def run(x: Tensor) -> Tensor:
            return operator(x, *args, **kwargs)

        return tape.numbered(Rowwise(input, run), run(input), (number,))

    return record


def _dropout(tape: Tape, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if training and p > 0:
        raise Unsupported("dropout in training mode")
    return input


RECORDERS: dict[Any, Callable[..., Tensor]] = {
    F.linear: _linear,
    **{func: _convolution(read) for func, read in convolution.CALLS.items()},
    **dict.fromkeys(operators.RELU, _relu),
    **dict.fromkeys(operators.RELU_, lambda tape, input: _relu(tape, input, True)),
    **dict.fromkeys(operators.LEAKY_RELU, _leaky_relu),
    **dict.fromkeys(
        operators.LEAKY_RELU_,
        lambda tape, input, negative_slope=0.01: _leaky_relu(tape, input, negative_slope, True),
    ),
    **dict.fromkeys(operators.HARDTANH, _hardtanh),
    **dict.fromkeys(
        operators.HARDTANH_,
        lambda tape, input, min_val=-1.0, max_val=1.0: _hardtanh(tape, input, min_val, max_val, True),
    ),
    **dict.fromkeys(operators.RELU6, lambda tape, input, inplace=False: _hardtanh(tape, input, 0.0, 6.0, inplace)),
    **dict.fromkeys(operators.RELU6_, lambda tape, input: _hardtanh(tape, input, 0.0, 6.0, True)),
    **{
        func: _reshape(func)
        for func in (
            *(torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze),
            *(Tensor.flatten, Tensor.reshape, Tensor.view, Tensor.squeeze, Tensor.unsqueeze, Tensor.contiguous),
        )
    },
    **dict.fromkeys((torch.add, Tensor.add, Tensor.__add__), _sum(subtract=False, inplace=False)),
    **dict.fromkeys((Tensor.add_, Tensor.__iadd__), _sum(subtract=False, inplace=True)),
    **dict.fromkeys((torch.sub, Tensor.sub, Tensor.__sub__), _sum(subtract=True, inplace=False)),
    **dict.fromkeys((Tensor.sub_, Tensor.__isub__), _sum(subtract=True, inplace=True)),
    **{func: _rowwise("pool", func) for func in operators.AVERAGE_POOL},
    **{func: _rowwise("reduce", func) for func in (torch.mean, Tensor.mean, torch.sum, Tensor.sum)},
    **{
        func: _rowwise("factor", func)
        for func in (torch.mul, Tensor.mul, Tensor.__mul__, torch.div, Tensor.div, Tensor.__truediv__)
    },
    Tensor.__rmul__: _rowwise("factor", Tensor.__mul__),
    Tensor.__getitem__: _rowwise("getitem", Tensor.__getitem__),
    F.dropout: _dropout,
}
