"""What tests on Ray share: one Ray, started at the first test that asks for it, and one training by DDP."""

from collections.abc import Iterator

import pytest
import ray

from grasp_ray.on_ray.cluster import ClusterSettings, connected
from grasp_ray.on_ray.train import train_arm
from grasp_ray.storage import Storage
from grasp_ray.training.arm import ArmTraining
from tests.planted_run import tiny_training, write_planted_run


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Connect to a private Ray with 4 logical CPUs, whatever the machine has."""
    if ray.is_initialized():  # another folder's tests started it, and end it
        yield
        return
    with connected(ClusterSettings(num_cpus=4, object_store_memory_mb=200)):
        yield


def three_worker_training(run: Storage) -> ArmTraining:
    """Forty epochs of steps of 4, 4 and 1 visits by three workers: two of them idle in the last step."""
    return tiny_training(run, epochs=40, replay_checkpoints=20, num_workers=3, max_failures=1, eps=1e-3)


@pytest.fixture(scope="session")
def three_worker_run(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """A run with `three_worker_training` done, without any interruption."""
    folder = tmp_path_factory.getbasetemp() / "three_workers"  # the same for every folder of tests
    run = Storage.at(folder) if folder.exists() else write_planted_run(folder)
    train_arm(three_worker_training(run))  # nothing happens when it is done
    return run
