"""Train arms with Ray Train: several side by side, each by as many DDP workers as the settings say.

A lane is one TorchTrainer whose workers train one arm after the other: starting a trainer costs some ten
seconds of CPU, about as much as a small arm. Results go through `Storage`, so a restart resumes from them.
"""

import logging
import os
import uuid
from collections.abc import Sequence
from typing import Any, cast

import ray
import ray.train
import ray.train.torch
import torch

from grasp_ray.errors import ConfigError, GraspRayError, NumericalError, RunConflictError
from grasp_ray.on_ray.training_board import BoardView, noting_on, start_board
from grasp_ray.training.arm import ArmTraining, arm_is_done, train_arm_in_process
from grasp_ray.training.ranks import Ranks
from grasp_ray.training.settings import TrainSettings
from grasp_ray.trial.manifest import manifest_sha256

__all__ = ["ArmTraining", "train_arm", "train_arms", "trainings_side_by_side"]

log = logging.getLogger(__name__)

BOOKKEEPING = ".ray_train"
"""Folder of the run in which Ray Train keeps its own files while it works."""

SECONDS_BETWEEN_LOOKS = 1.0
RAISED_BY_ALL = (NumericalError, RunConflictError, ConfigError)
"""Mistakes that every worker of a training meets at the same point."""


def train_arm(spec: ArmTraining) -> None:
    """Train one arm; nothing happens when its folder says that it is done."""
    train_arms([spec], max_parallel=1)


def train_arms(specs: Sequence[ArmTraining], *, max_parallel: int | None = None) -> None:
    """Train all arms, at most `max_parallel` side by side (default: what the cluster carries).

    All arms share one run, one manifest and one way to be computed (workers, threads, device); the settings
    may differ otherwise. Arms that are done are left as they are; interrupted ones resume. Raises
    `RunConflictError` when a folder holds another training, `ConfigError` when the cluster is too small for
    one, and what the training itself raised.
    """
    assert len({spec.folder for spec in specs}) == len(specs), "two arms share a folder"
    assert len({(spec.run, spec.manifest) for spec in specs}) <= 1, "arms of one audit share a manifest"
    ways = {(s.train.num_workers, s.train.threads_per_worker, s.train.use_gpu) for s in specs}
    assert len(ways) <= 1, "arms of one call are computed alike"
    if not specs:
        return
    manifest_hash = manifest_sha256(specs[0].run.read_table(specs[0].manifest))
    waiting = [spec for spec in specs if not arm_is_done(spec, manifest_hash)]
    if len(waiting) < len(specs):
        log.info("train: %d of %d arms were trained before", len(specs) - len(waiting), len(specs))
    if not waiting:
        return
    train = waiting[0].train
    use_gpu = _resolve_gpu(train)
    _require_room(train, use_gpu)
    lanes = min(len(waiting), max_parallel or trainings_side_by_side(train, use_gpu))
    board = start_board()
    view = BoardView(board, arms=len(waiting), epochs_per_arm=max(spec.train.epochs for spec in waiting))
    run_lane = ray.remote(num_cpus=0, max_retries=0)(_run_lane)
    running = [run_lane.remote(waiting[lane::lanes], use_gpu, board) for lane in range(lanes)]
    try:
        while running:
            finished, running = ray.wait(running, timeout=SECONDS_BETWEEN_LOOKS)
            for error in ray.get(finished):
                if error is not None:
                    raise error
            view.log_now_and_then()
        view.log_end()
    finally:
        for lane in running:
            ray.cancel(lane, force=True)
        ray.kill(board)


def trainings_side_by_side(train: TrainSettings, use_gpu: bool) -> int:
    """How many arms the cluster's GPUs, or else its CPU cores, carry at once; at least 1.

    A private Ray has more logical CPUs than cores on a small machine, so each node counts with at most as
    many as this one has.
    """
    total = _total_resources()
    if use_gpu:
        return max(1, int(total.get("GPU", 0)) // train.num_workers)
    cores = min(total.get("CPU", 1), (os.cpu_count() or 1) * _nodes())
    return max(1, int(cores) // (train.num_workers * train.threads_per_worker))


def _total_resources() -> dict[str, float]:
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return total


def _nodes() -> int:
    return len(ray.nodes())  # type: ignore[no-untyped-call]


def _resolve_gpu(train: TrainSettings) -> bool:
    return _total_resources().get("GPU", 0) > 0 if train.use_gpu == "auto" else train.use_gpu


def _require_room(train: TrainSettings, use_gpu: bool) -> None:
    """Refuse what the cluster could never run; Ray would wait for it without an end."""
    total = _total_resources()
    needs = {"CPU": train.num_workers * train.threads_per_worker, "GPU": train.num_workers if use_gpu else 0}
    for kind, needed in needs.items():
        if total.get(kind, 0) < needed:
            raise ConfigError(
                f"train.num_workers={train.num_workers} needs {needed} {kind}s, the cluster has "
                f"{total.get(kind, 0):.0f}: lower train.num_workers, or change train.use_gpu or the cluster."
            )


# --- in the lane's task, then in its workers ------------------------------------------------------


def _run_lane(specs: list[ArmTraining], use_gpu: bool, board: Any) -> GraspRayError | None:
    """Run one TorchTrainer over the lane's arms. A user's mistake comes back as a value."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # relative names in settings mean the job's folder
    first = specs[0]
    name = uuid.uuid4().hex
    trainer = ray.train.torch.TorchTrainer(
        cast(Any, _train_lane),  # its return value is that of fit(), though the stub says None
        train_loop_config={"specs": specs, "board": board},
        scaling_config=ray.train.ScalingConfig(
            num_workers=first.train.num_workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": first.train.threads_per_worker, "GPU": int(use_gpu)},
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=first.run.child(BOOKKEEPING).filesystem_path,
            storage_filesystem=first.run.filesystem,
            failure_config=ray.train.FailureConfig(max_failures=first.train.max_failures),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.WorkerGroupError as error:
        for failure in error.worker_failures.values():
            cause = getattr(failure, "_base_exc", failure)  # as the worker raised it
            if isinstance(cause, GraspRayError):
                return cause
        raise
    finally:
        first.run.remove(f"{BOOKKEEPING}/{name}")
    refused: GraspRayError | None = result.return_value  # type: ignore[attr-defined]
    return refused


def _train_lane(config: dict[str, Any]) -> GraspRayError | None:
    """A worker's part in all arms of its lane. After a restart, arms that are done are skipped."""
    specs: list[ArmTraining] = config["specs"]
    torch.set_num_threads(specs[0].train.threads_per_worker)
    ranks = Ranks.current()
    device = ray.train.torch.get_device()
    try:
        for spec in specs:
            progress = noting_on(config["board"], spec.folder, ranks.rank)
            train_arm_in_process(spec, device=device, ranks=ranks, on_progress=progress)
    except GraspRayError as error:
        if ranks.count == 1 or isinstance(error, RAISED_BY_ALL):
            return error  # a restart would only meet it again
        raise  # the other workers wait for this one: let Ray end them
    return None
