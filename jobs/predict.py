"""Score the severity of new visits with the registered champion or a run's model.

python jobs/predict.py conf/demo.yaml predict.trial=trials/new predict.model=champion predict.name=week-12
"""

import sys

from grasp_ray.pipeline.command_line import run_job
from grasp_ray.pipeline.predict import predict, require_model

if __name__ == "__main__":
    sys.exit(run_job(predict, needs=require_model, description=__doc__))
