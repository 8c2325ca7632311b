"""Which flagger finds what, does acting on it help, and is it more than luck: docs/evidence.md.

python jobs/benchmark_flaggers.py conf/evidence.yaml key=value …
"""

import sys

from grasp_ray.pipeline.command_line import run_job
from grasp_ray.pipeline.evidence import evidence, require_trials

if __name__ == "__main__":
    sys.exit(run_job(evidence, needs=require_trials, description=__doc__))
