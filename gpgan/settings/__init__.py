"""The settings of a run: their tree, the presets, and the merging of defaults, preset, file and flags."""
