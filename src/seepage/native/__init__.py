"""Compiled kernels, and how they are reached; every one has a pure path beside the caller."""
