"""The explicit schedule of a critic step, without autograd."""
