"""A worker that is killed in the middle of a training: the result is the same to the bit."""

import os
import signal
import threading
import time

import psutil

from grasp_ray.on_ray.train import train_arm
from grasp_ray.storage import Storage
from grasp_ray.training.replay_checkpoint import checkpoint_names
from grasp_ray.training.training_state import STATE_FILE
from tests.planted_run import write_planted_run
from tests.ray_session import three_worker_training

ARM = "arms/baseline_k=0000_seed=0"


def kill_one_worker_after_the_first_epoch(run: Storage, killed: list[int]) -> None:
    deadline = time.monotonic() + 120
    while not run.exists(f"{ARM}/{STATE_FILE}") and time.monotonic() < deadline:
        time.sleep(0.02)
    ours = psutil.Process().children(recursive=True)
    workers = [process.pid for process in ours if "RayTrainWorker" in " ".join(process.cmdline())]
    if len(workers) == 3 and not run.exists(f"{ARM}/done.json"):
        os.kill(max(workers), signal.SIGKILL)
        killed.append(max(workers))


def test_a_killed_worker_changes_no_bit_of_the_result(three_worker_run, tmp_path):
    interrupted, straight = write_planted_run(tmp_path), three_worker_run
    killed: list[int] = []
    killer = threading.Thread(target=kill_one_worker_after_the_first_epoch, args=(interrupted, killed))
    killer.start()
    train_arm(three_worker_training(interrupted))
    killer.join()
    assert killed, "the training ended before a worker could be killed"
    names = [f"{ARM}/model.safetensors", f"{ARM}/dynamics.parquet"]
    for name in checkpoint_names(straight.child("checkpoints")):
        names += [f"checkpoints/{name}/{group}.safetensors" for group in ("weights", "exp_avg", "exp_avg_sq")]
    assert len(names) == 2 + 3 * 20
    for name in names:
        assert interrupted.read_bytes(name) == straight.read_bytes(name), name
    assert interrupted.names(ARM) == straight.names(ARM)
