"""The whole audit: train, score, prune, evaluate, report.

python jobs/audit.py conf/demo.yaml key=value …
"""

import sys

from grasp_ray.pipeline.audit import audit
from grasp_ray.pipeline.command_line import run_job
from grasp_ray.pipeline.prepare import require_trial

if __name__ == "__main__":
    sys.exit(run_job(audit, needs=require_trial, description=__doc__))
