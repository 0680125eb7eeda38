"""Small things of no subject."""
