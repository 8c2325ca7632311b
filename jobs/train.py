"""Freeze the manifest and train the baseline with replay checkpoints.

python jobs/train.py conf/demo.yaml key=value …
"""

import sys

from grasp_ray.pipeline.command_line import run_job
from grasp_ray.pipeline.prepare import require_trial
from grasp_ray.pipeline.train import train

if __name__ == "__main__":
    sys.exit(run_job(train, needs=require_trial, description=__doc__))
