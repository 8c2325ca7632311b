"""Do the pixels that decide lie in the lesion? Integrated gradients of the held-out visits.

python jobs/audit_saliency.py conf/demo.yaml
"""

import sys

from grasp_ray.pipeline.audit_saliency import audit_saliency
from grasp_ray.pipeline.audited_run import require_trained
from grasp_ray.pipeline.command_line import run_job

if __name__ == "__main__":
    sys.exit(run_job(audit_saliency, needs=require_trained, description=__doc__))
