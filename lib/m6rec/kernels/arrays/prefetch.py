"""Asking for memory before it is needed, for kernels that go from vector to vector by an index.

A processor sees a loop's next address only where it grows by even steps. With vectors of other
rows, the load of each would begin when the one before has been used; where they lie beyond the
cache, waiting takes most of the time.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# Vectors that are on their way while one is used.
VECTORS_AHEAD = 8

_FLOATS_OF_LINE = 16
_READ, _KEEP_CLOSE, _DATA = 0, 3, 1


@njit(cache=True, nogil=True)
def prefetch_row(vectors, row):  # type: ignore[no-untyped-def]
    """Begin to load vectors[row], of float32 [n, k]; it changes nothing but the time it takes."""
    for column in range(0, vectors.shape[1], _FLOATS_OF_LINE):
        _prefetch(vectors, row, column)  # type: ignore[call-arg]


@intrinsic
def _prefetch(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    """LLVM's prefetch of the cache line of array[row, column]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, *index_kinds = signature.args
        structure = context.make_array(kind)(context, builder, arguments[0])
        indices = [
            context.cast(builder, value, given, types.intp)
            for value, given in zip(arguments[1:], index_kinds, strict=True)
        ]
        place = cgutils.get_item_pointer(  # type: ignore[no-untyped-call]
            context, builder, kind, structure, indices, wraparound=False
        )
        address, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            (address,),
            ir.FunctionType(ir.VoidType(), [address, number, number, number]),
        )
        hints = [number(hint) for hint in (_READ, _KEEP_CLOSE, _DATA)]
        builder.call(function, [builder.bitcast(place, address), *hints])
        return context.get_dummy_value()

    return types.void(array, row, column), generate
