"""What all kernels share: rows, strings, hashes, threads, collectives, sparse products."""
