"""The settings of a run: the tree, presets, and how defaults, preset, file and flags are merged."""
