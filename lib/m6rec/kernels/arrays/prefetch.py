"""Load vectors ahead of their use, for kernels that go from vector to vector by an index.

A processor foresees the next address of a loop only where addresses grow by even steps. Where an
index decides, the load of a vector would begin only when the one before it has been used. If the
vectors lie beyond the cache, a kernel would then wait most of the time.
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

# How many vectors are being loaded while one is used.
VECTORS_AHEAD = 8

_FLOATS_OF_LINE = 16
_READ, _KEEP_CLOSE, _DATA = 0, 3, 1


@njit(cache=True, nogil=True)
def prefetch_row(vectors, row):  # type: ignore[no-untyped-def]
    """Begin to load vectors[row] from float32 [n, k]; this changes only how long the use takes."""
    for column in range(0, vectors.shape[1], _FLOATS_OF_LINE):
        _prefetch(vectors, row, column)  # type: ignore[call-arg]


@intrinsic
def _prefetch(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    """Prefetch the cache line of array[row, column] by LLVM's intrinsic."""

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
