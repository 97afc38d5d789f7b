"""Give a kernel what it only reads as arrays of one type, so that numba compiles it once.

To numba an array that may be written to and one that may not, such as Arrow's, are of two types. It
would compile a kernel for each combination of them that it is called with, in seconds each.
"""

from typing import Any, TypeVarTuple, cast

import numpy.typing as npt

Arrays = TypeVarTuple("Arrays")


def read_only(*arrays: *Arrays) -> tuple[*Arrays]:
    """Views of the arrays that may not be written to, with the same dtypes and shapes."""
    views = tuple(array.view() for array in cast(tuple[npt.NDArray[Any], ...], arrays))
    for view in views:
        view.flags.writeable = False
    return cast(tuple[*Arrays], views)
