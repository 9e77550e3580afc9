"""Benchmark: speed and memory, each way of doing something beside its alternatives in the same run."""
