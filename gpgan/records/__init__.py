"""What a run leaves: its folder, statistics, pictures, curves, checkpoints and page."""
