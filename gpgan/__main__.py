"""``python -m gpgan``."""

import os
import sys

if __name__ == "__main__":
    try:
        from gpgan.cli import main
        from gpgan.util import processes

        status = main()
        if processes.joined:
            # torch keeps references to a process group, so gloo's threads outlive it. One that lets go of a tensor while
            # the interpreter shuts down aborts the process ("terminate called without an active exception").
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        sys.exit(status)
    except KeyboardInterrupt:  # before there was anything to save
        sys.exit(130)
