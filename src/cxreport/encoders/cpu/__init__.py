"""CPU kernels in numba: compiled on the user's machine when first called, and kept on disk."""
