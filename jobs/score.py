"""Trace misclassified validation visits back to training images.

python jobs/score.py conf/demo.yaml key=value …
"""

import sys

from grasp_ray.pipeline.command_line import run_job
from grasp_ray.pipeline.prepare import require_prepared
from grasp_ray.pipeline.score import score

if __name__ == "__main__":
    sys.exit(run_job(score, needs=require_prepared, description=__doc__))
