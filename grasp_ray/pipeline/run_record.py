"""run.json: what a run was made from, so that it can be made again."""

import platform
from datetime import UTC, datetime
from typing import Any

import grasp_ray
from grasp_ray.config import AuditConfig
from grasp_ray.influence.scores import ORIENTATION
from grasp_ray.pipeline.run_folder import RUN_RECORD, RunFolder
from grasp_ray.storage import masked
from grasp_ray.training.replay_checkpoint import git_commit, package_versions


def write_run_record(run: RunFolder, config: AuditConfig, **results: Any) -> dict[str, Any]:
    """Write (or bring up to date) run.json and return it; `results` are added to those recorded before."""
    before = run.storage.read_json(RUN_RECORD) if run.storage.exists(RUN_RECORD) else {}
    record = {
        "name": config.run.name,
        "started": before.get("started", datetime.now(UTC).isoformat(timespec="seconds")),
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": _without_secrets(config.model_dump(mode="json")),
        "orientation": ORIENTATION,
        "git_commit": git_commit(),
        "versions": {"grasp_ray": grasp_ray.__version__, "python": platform.python_version()}
        | package_versions(),
        "results": before.get("results", {}) | results,
    }
    run.storage.write_json(RUN_RECORD, record)
    return record


def _without_secrets(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _without_secrets(value) for key, value in values.items()}
    return masked(values) if isinstance(values, str) else values
