"""``python -m benchmarks.toy``: the presets on mixtures of Gaussians, beside what was published of them."""
