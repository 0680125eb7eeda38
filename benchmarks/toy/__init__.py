"""``python -m benchmarks.toy``: the presets on mixtures of Gaussians, beside published numbers."""
