"""How many actors a pass gets, from the cluster's resources."""

import os

import ray

from grasp_ray.on_ray.cluster import ClusterSettings
from grasp_ray.on_ray.shards import Workers


def cpu_workers(settings: ClusterSettings) -> Workers:
    """`cluster.actors` single-core actors, or one for each CPU.

    A private Ray has more logical CPUs than cores on a small machine, so each node counts with at most as
    many as this one has.
    """
    if settings.actors:
        return Workers(actors=settings.actors)
    nodes = len(ray.nodes())  # type: ignore[no-untyped-call]
    return Workers(actors=max(1, min((os.cpu_count() or 1) * nodes, _total("CPU"))))


def gpu_workers(settings: ClusterSettings) -> Workers:
    """One actor for each GPU where the cluster has any, else as `cpu_workers`."""
    gpus = _total("GPU")
    return Workers(actors=settings.actors or gpus, gpus=1.0) if gpus else cpu_workers(settings)


def _total(resource: str) -> int:
    return int(ray.cluster_resources().get(resource, 0))  # type: ignore[no-untyped-call]
