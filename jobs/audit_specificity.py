"""Does the model read an annotated artefact, and would location labels have helped?

python jobs/audit_specificity.py conf/demo.yaml 'specificity.supervisions=[visit,box,mask]'
"""

import sys

from grasp_ray.pipeline.audit_specificity import audit_specificity
from grasp_ray.pipeline.audited_run import require_trained
from grasp_ray.pipeline.command_line import run_job

if __name__ == "__main__":
    sys.exit(run_job(audit_specificity, needs=require_trained, description=__doc__))
