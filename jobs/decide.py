"""Take the reviewers' decisions into the trial's ledger; all of a file or nothing.

python jobs/decide.py decisions.csv conf/demo.yaml trial.decisions=ledgers/demo key=value …
"""

import sys

from grasp_ray.config import load_config
from grasp_ray.pipeline.command_line import config_parser, job_parser, refusing
from grasp_ray.pipeline.decide import decide

if __name__ == "__main__":
    parser = job_parser(__doc__)
    parser.add_argument("decisions", help="CSV file that the review page gave")
    parsed = config_parser(parser).parse_args()
    sys.exit(refusing(lambda: decide(load_config(parsed.config, parsed.overrides), parsed.decisions)))
