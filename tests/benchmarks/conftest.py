"""The benchmarks are a package of the repository, not of gpgan."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
