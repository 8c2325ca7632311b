"""The review queue of a run: what a dermatologist should look at, as CSV and as a page.

python jobs/review.py conf/demo.yaml key=value …
"""

import sys

from grasp_ray.config import load_config
from grasp_ray.pipeline.command_line import config_parser, job_parser, refusing
from grasp_ray.pipeline.review import review

if __name__ == "__main__":
    parsed = config_parser(job_parser(__doc__)).parse_args()
    sys.exit(refusing(lambda: review(load_config(parsed.config, parsed.overrides))))
