"""Write the simulated trial that the config describes.

python jobs/simulate.py conf/demo.yaml key=value …
"""

import sys

from grasp_ray.pipeline.command_line import run_job
from grasp_ray.pipeline.simulate import simulate

if __name__ == "__main__":
    sys.exit(run_job(simulate, description=__doc__))
