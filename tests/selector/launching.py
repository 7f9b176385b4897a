"""What jobs in processes of their own do in tests: it must be there to be imported by them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from eigenselect.selector.commands.composed import Composed, selections


def by_seed(job: Composed) -> int:
    """Print, and do what the seed of the job says: end with it as the code, or as the process does that dies of it."""
    seed, where = job.config.seed, f"{job.config.out} in {Path.cwd().name}"
    print(f"job {job.number} begins: {where}", flush=True)
    print(f"seed {seed}", file=sys.stderr, flush=True)
    if seed == 7:
        os._exit(7)
    if seed == 9:
        os.kill(os.getpid(), 9)
    if seed == 60:
        Path("begun").touch()
        time.sleep(60)
    time.sleep(0.1 * (4 - job.number))  # the first ones end last
    print(f"job {job.number} ends: {where}")
    selections.append((job.swept, seed))
    return seed
