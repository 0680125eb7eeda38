"""``python -m gpgan``."""

import sys

from gpgan.cli import main

if __name__ == "__main__":
    sys.exit(main())
