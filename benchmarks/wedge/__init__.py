"""``make results-wedge``: missing-wedge restoration, told in docs/missing_wedge.md."""
