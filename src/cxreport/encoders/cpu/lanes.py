"""Sixteen float32 lanes as one value inside numba kernels.

numba's own vectoriser gives up on loops that write to many arrays, because any two might overlap. Here a
kernel says what it means: ``load``, ``store``, arithmetic, ``exp2`` on ``Lanes``. LLVM maps them to AVX-512
(one register), AVX2 (two), or NEON and SSE (four); nothing is compiled outside numba.

Multiplication and addition may be contracted to one fused operation, nothing else is reordered.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_FLOATS = ir.VectorType(_FLOAT, LANES)
_INTS = ir.VectorType(_INT, LANES)
_FUSED = ("contract",)
_intrinsic: Any = intrinsic
Signature = tuple[Any, Callable[..., Any]]


class LanesType(types.Type):
    """numba's type of the lanes; values exist only inside kernels."""

    def __init__(self) -> None:
        super().__init__(name="Float32Lanes")


lanes_type = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _FLOATS)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [float(np.float32(value))] * LANES)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _FLOATS.as_pointer())


def _check_array(array: Any) -> None:
    if not (isinstance(array, types.Array) and array.dtype == types.float32):
        raise TypingError(f"lanes live in float32 arrays, not in {array}")


@_intrinsic
def load(_typing: Any, array: Any, index: Any) -> Signature:
    """The sixteen values of a float32 array from flat position `index`."""
    _check_array(array)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], *args), align=4)

    return lanes_type(array, types.intp), generate


@_intrinsic
def store(_typing: Any, array: Any, index: Any, value: Any) -> Signature:
    """Write sixteen values into a float32 array from flat position `index`."""
    _check_array(array)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes_type), generate


@_intrinsic
def broadcast(_typing: Any, value: Any) -> Signature:
    """One float in every lane."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return _spread(builder, args[0])

    return lanes_type(types.float32), generate


@_intrinsic
def load_one(_typing: Any, array: Any, index: Any) -> Signature:
    """The value of a float32 array at flat position `index`, in every lane."""
    _check_array(array)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return _spread(builder, builder.load(builder.gep(data, [args[1]])))

    return lanes_type(array, types.intp), generate


def _spread(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_INTS, [0] * LANES))


@_intrinsic
def total(_typing: Any, value: Any) -> Signature:
    """The sum of the lanes, by halves."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        vector, width = args[0], LANES
        while width > 1:
            width //= 2
            low, high = (
                builder.shuffle_vector(
                    vector,
                    vector,
                    ir.Constant(ir.VectorType(_INT, width), list(range(start, start + width))),
                )
                for start in (0, width)
            )
            vector = builder.fadd(low, high)
        return builder.extract_element(vector, ir.Constant(_INT, 0))

    return types.float32(lanes_type), generate


@_intrinsic
def larger(_typing: Any, floor: Any, value: Any) -> Signature:
    """Per lane the larger of the number `floor` and the value; NaN stays NaN."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[1], args[0]), args[0], args[1])

    return lanes_type(lanes_type, lanes_type), generate


@_intrinsic
def exp2(_typing: Any, value: Any) -> Signature:
    """2 to the power of each lane, relative error below 1.5e-7; exponents are cut to -126 .. 127.

    The exponent's integer part goes into the bits of the result, the rest (-1/2 .. 1/2) into a polynomial.
    NaN stays NaN.
    """

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        low, high, shifter = _constant(-126.0), _constant(127.0), _constant(12582912.0)
        x = builder.select(builder.fcmp_ordered("<", args[0], low), low, args[0])
        x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
        shifted = builder.fadd(x, shifter)
        rest = builder.fsub(x, builder.fsub(shifted, shifter))
        power = _constant(_EXP2[-1])
        for coefficient in reversed(_EXP2[:-1]):
            power = builder.fmul(power, rest, flags=_FUSED)
            power = builder.fadd(power, _constant(coefficient), flags=_FUSED)
        exponent = builder.shl(builder.bitcast(shifted, _INTS), ir.Constant(_INTS, [23] * LANES))
        return builder.bitcast(builder.add(builder.bitcast(power, _INTS), exponent), _FLOATS)

    return lanes_type(lanes_type), generate


def _fit_exp2(degree: int = 6) -> tuple[float, ...]:
    """Coefficients of 2**x on -1/2 .. 1/2, constant first: 1, so that 2**0 is exactly 1.

    The rest is the Chebyshev interpolation of (2**x - 1) / x.
    """

    def slope(x: np.ndarray) -> np.ndarray:
        return np.expm1(x * np.log(2)) / x

    found = np.polynomial.Chebyshev.interpolate(slope, degree - 1, domain=[-0.5, 0.5])
    return (1.0, *found.convert(kind=np.polynomial.Polynomial).coef)


_EXP2 = _fit_exp2()


def _binary(name: str) -> Any:
    """The intrinsic of a binary operation on lanes."""

    @_intrinsic
    def operation(_typing: Any, left: Any, right: Any) -> Signature:
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return getattr(builder, name)(*args, flags=_FUSED)

        return lanes_type(lanes_type, lanes_type), generate

    return operation


def _register(symbol: Any, name: str) -> None:
    """Let `symbol` work on lanes with lanes, and on lanes with a float."""
    operation = _binary(name)

    @overload(symbol, strict=False)
    def _operator(left: Any, right: Any) -> Any:
        if left == lanes_type and right == lanes_type:
            return lambda left, right: operation(left, right)
        if left == lanes_type and isinstance(right, types.Float):
            return lambda left, right: operation(left, broadcast(np.float32(right)))
        if right == lanes_type and isinstance(left, types.Float):
            return lambda left, right: operation(broadcast(np.float32(left)), right)
        return None


for _symbol, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _register(_symbol, _name)
