"""``python -m benchmarks.runs``: benchmarked training runs, told in docs/runs.md."""
