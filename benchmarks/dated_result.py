"""Write a benchmark's rows as a dated JSON that says under which circumstances they were measured."""

import datetime
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, rows: list[dict[str, Any]], output: Path | None, **circumstances: Any) -> None:
    """Write `output`, or results/<name>-<date>.json: rows, date, command, machine, load, `circumstances`."""
    today = datetime.date.today().isoformat()
    known = {
        "date": today,
        "command": " ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "load_average": os.getloadavg(),
    }
    target = output or RESULTS / f"{name}-{today}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"circumstances": known | circumstances, "rows": rows}, indent=1) + "\n")
    print(f"written to {target.name}")
