from tests.ray_session import ray_session, three_worker_run

__all__ = ["ray_session", "three_worker_run"]
