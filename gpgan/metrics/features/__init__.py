"""Feature networks: what metrics compare samples by."""
