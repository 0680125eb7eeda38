"""The trainer: its configuration, its loop and what a run leaves behind."""
