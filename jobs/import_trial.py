"""Turn a public data set, in the layout it is published in, into a trial.

python jobs/import_trial.py ham10000 <source folder> <target trial folder> [--copy]
python jobs/import_trial.py isic2017 <source folder> <target trial folder> [--copy] [--trap-split 1…5]
python jobs/import_trial.py isic2017 <source folder> <target trial folder> [--copy] [--crowd-asymmetry]
"""

import sys

from grasp_ray.pipeline.command_line import job_parser, refusing
from grasp_ray.pipeline.import_trial import import_trial

if __name__ == "__main__":
    parser = job_parser(__doc__)
    data_sets = parser.add_subparsers(dest="data_set", required=True, metavar="ham10000|isic2017")
    for name in ("ham10000", "isic2017"):
        one = data_sets.add_parser(name)
        one.add_argument("source", help="folder or bucket prefix that the data set was unpacked to")
        one.add_argument("target", help="folder or bucket prefix for the trial, such as trials/ham10000")
        one.add_argument("--copy", action="store_true", help="copy the photos; else they are referred to")
        if name == "isic2017":
            which = one.add_mutually_exclusive_group()
            which.add_argument("--trap-split", type=int, help="1 to 5: the splits that tempt with artefacts")
            which.add_argument(
                "--crowd-asymmetry",
                action="store_true",
                help="classes are two crowd readers' asymmetry scores",
            )
    sys.exit(refusing(lambda: import_trial(**vars(parser.parse_args()))))
