"""Small helpers that belong to no one subject."""
