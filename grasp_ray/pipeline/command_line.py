"""What all jobs share: the command line `python jobs/x.py conf/y.yaml key=value …`, logging, exit codes."""

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from grasp_ray.config import AuditConfig, load_config
from grasp_ray.errors import GraspRayError
from grasp_ray.on_ray.cluster import connected

EXIT_REFUSED = 2
"""The input was refused, with one line on stderr that says why."""

Step = Callable[[AuditConfig], object]


class JobParser(argparse.ArgumentParser):
    """An argument parser that refuses with one line, as jobs do."""

    def error(self, message: str) -> NoReturn:
        """Exit with `EXIT_REFUSED`."""
        self.exit(EXIT_REFUSED, f"{self.prog}: {message}; {self.prog} --help says more\n")


def job_parser(description: str | None) -> JobParser:
    """A parser that shows `description`, a job's docstring, as it is written."""
    return JobParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def config_parser(parser: JobParser) -> JobParser:
    """Add what a config is made of: `config`, and `overrides` behind it."""
    parser.add_argument("config", help="YAML file, such as conf/demo.yaml")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="such as train.epochs=5"
    )
    return parser


def run_job(
    step: Step,
    *,
    description: str | None,
    needs: Step | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the command line, connect to Ray, run `step`; return the exit code of `refusing`.

    `needs` refuses a config whose inputs are not there, before Ray is started.
    """
    parsed = config_parser(job_parser(description)).parse_args(arguments)

    def work() -> None:
        config = load_config(parsed.config, parsed.overrides)
        if needs is not None:
            needs(config)
        with connected(config.cluster):
            signal.signal(signal.SIGTERM, _exit_on_signal)  # after ray.init, which sets its own
            step(config)

    return refusing(work)


def refusing(work: Callable[[], None]) -> int:
    """Log to stderr, run `work`, return the exit code: 0 done; 2 refused input (`GraspRayError`).

    A refusal is printed as one line, or as a line per problem of a trial. SIGTERM ends a job with 143. Any
    other error is a defect and keeps its traceback.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    # matplotlib tells of every axis whose labels look like numbers, which k=100, k=200 … do
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    try:
        work()
    except GraspRayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    return 0


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
