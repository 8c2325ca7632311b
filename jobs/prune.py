"""Remove the most harmful images and retrain every arm and its controls.

python jobs/prune.py conf/demo.yaml key=value …
"""

import sys

from grasp_ray.pipeline.command_line import run_job
from grasp_ray.pipeline.prepare import require_prepared
from grasp_ray.pipeline.prune import prune

if __name__ == "__main__":
    sys.exit(run_job(prune, needs=require_prepared, description=__doc__))
