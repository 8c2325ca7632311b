"""Check a trial's tables and photos and list every problem.

python jobs/check_trial.py conf/demo.yaml key=value …
"""

import sys

from grasp_ray.pipeline.check_trial import check_trial, read_tables
from grasp_ray.pipeline.command_line import run_job

if __name__ == "__main__":
    sys.exit(run_job(check_trial, needs=read_tables, description=__doc__))
