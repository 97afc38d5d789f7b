"""Numerical kernels on arrays, by NumPy, SciPy and numba; nothing here imports Spark.

A kernel with `fastmath` that other kernels call has `forceinline`, too. Otherwise its numbers would
depend on which kernels a process has compiled, and which it has loaded from numba's cache.
"""

from zipimport import zipimporter

if isinstance(__spec__.loader, zipimporter):
    # Before any kernel asks numba for a cache. From a folder, numba is imported by those alone that
    # compile something.
    from m6rec.kernels.zip_cache import keep_kernels_of

    keep_kernels_of(__spec__.loader.archive)
