"""Whole comparisons, run by `make bench-…`; docs/benchmarks.md is made of their output."""
