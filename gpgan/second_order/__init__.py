"""How the exact penalty avoids work that is known to be zero."""

from gpgan.second_order.pruning import Pruning

__all__ = ["Pruning"]
