"""How the exact penalty avoids work that is known to be zero."""
