"""Does the model need the lesion? Show it the held-out visits without, and with nothing else.

python jobs/audit_masking.py conf/demo.yaml
"""

import sys

from grasp_ray.pipeline.audit_masking import audit_masking
from grasp_ray.pipeline.audited_run import require_trained
from grasp_ray.pipeline.command_line import run_job

if __name__ == "__main__":
    sys.exit(run_job(audit_masking, needs=require_trained, description=__doc__))
