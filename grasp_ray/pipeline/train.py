"""Step: train the baseline, once per seed; the first seed keeps replay checkpoints."""

from grasp_ray.config import AuditConfig
from grasp_ray.pipeline.arms import baseline_arms, train_and_predict
from grasp_ray.pipeline.prepare import prepare
from grasp_ray.pipeline.run_record import write_run_record


def train(config: AuditConfig) -> None:
    """Freeze the manifest, then train and predict the baselines."""
    run = prepare(config)
    write_run_record(run, config)
    train_and_predict(config, run, dict.fromkeys(baseline_arms(config), ()))
