"""Tasks that restore the missing wedge: see docs/missing_wedge.md."""
