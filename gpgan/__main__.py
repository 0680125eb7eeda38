"""``python -m gpgan``."""

import sys

if __name__ == "__main__":
    try:
        from gpgan.cli import main

        sys.exit(main())
    except KeyboardInterrupt:  # before there was anything to save
        sys.exit(130)
