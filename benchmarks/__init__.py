"""What gpgan costs beside the same computation in PyTorch: ``python -m benchmarks``, explained in docs/benchmarks.md."""
