"""Compare all arms, write the report and log the run to MLflow.

python jobs/evaluate.py conf/demo.yaml key=value …
"""

import sys

from grasp_ray.pipeline.command_line import run_job
from grasp_ray.pipeline.evaluate import evaluate
from grasp_ray.pipeline.prepare import require_prepared

if __name__ == "__main__":
    sys.exit(run_job(evaluate, needs=require_prepared, description=__doc__))
