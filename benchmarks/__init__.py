"""Benchmarks: each prints its figures and stores them under results/."""
