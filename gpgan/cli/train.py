"""``gpgan train``."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence

from gpgan.cli import complain
from gpgan.cli.arguments import parse_train
from gpgan.cli.running import run_trainer
from gpgan.records.run_folder import check_writable
from gpgan.settings.merging import settings_of
from gpgan.training.trainer import Trainer
from gpgan.util.errors import reason
from gpgan.util.words import shown


def run(arguments: Sequence[str]) -> int:
    """Trains as the arguments specify; see ``run_trainer`` for the exit status."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            config, dataset, given = parse_train(arguments)
            check_writable(config.out, config.name)
            trainer = Trainer(config, dataset=dataset) if given.dry_run else None
        if os.environ.get("RANK", "0") == "0":  # only one process prints what all would
            for warning in caught:
                sys.stderr.write(f"warning: {shown(warning.message)}\n")
        if trainer is not None:
            trainer.processes.leave()
            if trainer.processes.first:
                sys.stdout.write(json.dumps(settings_of(trainer.config), indent=2) + "\n")
            return 0
    except (ValueError, TypeError, OSError) as error:
        return complain(reason(error))
    return run_trainer(lambda: Trainer(config, dataset=dataset), given.json, config.impl)
