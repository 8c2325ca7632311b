"""What a re-audit costs when 1 % of the visits are new, as a share of a full audit; all in one Ray session.

A simulated trial without its last visits is audited whole and indexed; the first re-audit measures the
standing photos once; then the last visits arrive, and the second re-audit does what they require.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dated_result import write_result

from grasp_ray.config import AuditConfig, load_config
from grasp_ray.on_ray.cluster import connected
from grasp_ray.pipeline.audit import audit
from grasp_ray.pipeline.command_line import refusing
from grasp_ray.pipeline.index import index
from grasp_ray.pipeline.reaudit import reaudit
from grasp_ray.pipeline.simulate import simulate


def main() -> None:
    """Measure one trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", default="conf/demo.yaml")
    parser.add_argument("overrides", nargs="*", default=[])
    parser.add_argument("--new-share", type=float, default=0.01)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:

        def config(week: int, name: str) -> AuditConfig:
            here = [
                *arguments.overrides,
                f"run.root={folder}/runs", f"run.name={name}", f"trial.uri={folder}/trial",
                f"simulate.arrivals.week={week}", "simulate.arrivals.weeks=1",
                f"simulate.arrivals.first_share={1 - arguments.new_share}", "reaudit.standing=full",
            ]  # fmt: skip
            return load_config(arguments.config, here)

        def timed(what: str, work: Callable[[], object]) -> None:
            started = time.monotonic()
            work()
            rows.append({"what": what, "seconds": round(time.monotonic() - started, 1)})
            print(rows[-1], flush=True)

        def measure() -> None:
            with connected(config(0, "full").cluster):
                simulate(config(0, "full"))
                timed("full audit", lambda: audit(config(0, "full")))
                timed("gradient index", lambda: index(config(0, "full")))
                timed("first re-audit, nothing new", lambda: reaudit(config(0, "none")))
                simulate(config(1, "full"))
                timed("re-audit", lambda: reaudit(config(1, "new")))
                timed("re-audit again, nothing new", lambda: reaudit(config(1, "again")))

        if refusing(measure):
            raise SystemExit("the measurement was refused")
    write_result(
        "reaudit_cost", rows, arguments.output, new_share=arguments.new_share, config=arguments.config
    )


if __name__ == "__main__":
    main()
