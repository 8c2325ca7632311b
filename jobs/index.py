"""Store compressed training gradients, and trace index.query_visits through them.

python jobs/index.py conf/demo.yaml 'index.query_visits=[V0001]'
"""

import sys

from grasp_ray.pipeline.command_line import run_job
from grasp_ray.pipeline.index import index
from grasp_ray.pipeline.prepare import require_prepared

if __name__ == "__main__":
    sys.exit(run_job(index, needs=require_prepared, description=__doc__))
