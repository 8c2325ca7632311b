"""Step: the whole audit, from photos to the report and the MLflow run."""

from grasp_ray.config import AuditConfig
from grasp_ray.pipeline.evaluate import evaluate
from grasp_ray.pipeline.prune import prune
from grasp_ray.pipeline.score import score
from grasp_ray.pipeline.simulate import simulate
from grasp_ray.pipeline.train import train
from grasp_ray.tracking.mlflow_log import check_reachable


def audit(config: AuditConfig) -> None:
    """Simulate if asked to, then train, score, prune and evaluate; each step redoes what is missing."""
    if config.track.enabled:
        check_reachable(config.track, config.run.root)
    if config.simulate is not None:
        simulate(config)
    train(config)
    score(config)
    prune(config)
    evaluate(config)
