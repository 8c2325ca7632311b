"""Look at a standing run's trial again: what is new, what has drifted, and whether retraining is due.

python jobs/reaudit.py conf/demo.yaml reaudit.standing=demo run.name=reaudit-2026-11-24
"""

import sys

from grasp_ray.pipeline.command_line import run_job
from grasp_ray.pipeline.reaudit import reaudit, require_standing

if __name__ == "__main__":
    sys.exit(run_job(reaudit, needs=require_standing, description=__doc__))
