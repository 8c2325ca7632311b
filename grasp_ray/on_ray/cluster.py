"""Connect to Ray: a private one on this machine, a running cluster, or the one a submitted job runs on."""

import contextlib
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator

import ray
from pydantic import Field, PositiveInt

from grasp_ray.errors import ConfigError
from grasp_ray.settings import Settings

log = logging.getLogger(__name__)

LOGICAL_CPUS_AT_LEAST = 4
"""Of a private Ray: with fewer, Ray Data's and Ray Train's own actors can wait for each other."""

SECONDS_TO_ANSWER = 10.0

PRIVATE_RAY_ENVIRONMENT = {
    # A local ray.init() would otherwise turn token authentication on and write a token into the home folder.
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Trainings start and end sooner; nobody scrapes metrics of, or preempts, a Ray of one machine.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_worker_maximum_startup_concurrency": "8",  # two trainers start at once, which Ray would warn of
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_COLOR_PREFIX": "0",
}


class ClusterSettings(Settings):
    """Where the work runs. Under `ray job submit` the job's own cluster is used, whatever `address` says."""

    address: str = Field(default="local", pattern=r"^(local|auto|[^:/\s]+:\d+)$")
    """`local` starts a private Ray and stops it at the end; `auto` or host:port joins a running cluster."""

    num_cpus: PositiveInt | None = None
    """Logical CPUs of a private Ray; by default the machine's, at least 4."""

    object_store_memory_mb: PositiveInt = 500
    """Shared memory of a private Ray, in 10^6 bytes; photos go through files, so little is needed."""

    actors: PositiveInt | None = None
    """Actors that decode, predict and replay side by side; by default one for each GPU, or each CPU."""

    trainings: PositiveInt | None = None
    """Arms trained side by side; by default as many as the CPU cores, or the GPUs, carry."""

    worker_logs: bool = False
    """Show what workers print and log; their errors arrive in any case."""


def under_ray_job() -> bool:
    """Whether this process is the entry point of `ray job submit`."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


@contextlib.contextmanager
def connected(settings: ClusterSettings) -> Iterator[None]:
    """Hold a connection to Ray; a private Ray ends with it, a joined cluster goes on.

    Raises `ConfigError` when the cluster cannot be reached, or when this process is connected already.
    """
    if ray.is_initialized():
        raise ConfigError("this process is connected to Ray already: call ray.shutdown() first.")
    private = settings.address == "local" and not under_ray_job()
    with _private_ray(settings) if private else _joined_cluster(settings):
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        log.info(
            "Ray %s: %.0f CPUs, %.0f GPUs",
            "on this machine" if private else "cluster",
            resources.get("CPU", 0),
            resources.get("GPU", 0),
        )
        yield


@contextlib.contextmanager
def _private_ray(settings: ClusterSettings) -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="grasp_ray_", dir="/tmp")  # short: socket paths end at 107 characters
    cpus = settings.num_cpus or max(os.cpu_count() or 1, LOGICAL_CPUS_AT_LEAST)
    started = time.monotonic()
    with _environment(PRIVATE_RAY_ENVIRONMENT):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                object_store_memory=settings.object_store_memory_mb * 1_000_000,
                include_dashboard=False,
                log_to_driver=settings.worker_logs,
                logging_level=logging.WARNING,
                _temp_dir=folder,
            )
            log.info("started Ray in %.1f s", time.monotonic() - started)
            yield
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _joined_cluster(settings: ClusterSettings) -> Iterator[None]:
    address = None if under_ray_job() else settings.address  # None: the job's RAY_ADDRESS
    if address not in (None, "auto"):
        _require_answer(settings.address)
    try:
        ray.init(address=address, log_to_driver=settings.worker_logs, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"cluster.address={settings.address} cannot be joined: {reason} Start a cluster there, "
            "or set cluster.address=local."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Knock first: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"nothing answers at cluster.address={address} ({error}): start a cluster there, "
            "or set cluster.address=local."
        ) from error


@contextlib.contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """Set variables that are not set by the user, and restore them afterwards."""
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
