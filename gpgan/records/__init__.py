"""What a run writes: its folder, statistics, pictures, curves, checkpoints and report."""
