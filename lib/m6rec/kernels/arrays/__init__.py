"""Arrays that all kernels share: rows, strings, threads, collectives, sparse products."""
