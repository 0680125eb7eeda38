"""Runs gpgan as a user does."""

from __future__ import annotations

import re
import subprocess
import sys


def gpgan(*arguments: str) -> str:
    """Runs a command, whose output goes to stderr; returns how its training diverged, or "" if it did not.

    Raises:
        subprocess.CalledProcessError: It failed for another reason.
    """
    command = [sys.executable, "-m", "gpgan", *arguments]
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    sys.stderr.write(done.stderr)
    diverged = re.search(r"^gpgan: training diverged: (.*)", done.stderr, re.MULTILINE)
    if diverged:
        return diverged[1]
    done.check_returncode()
    return ""
