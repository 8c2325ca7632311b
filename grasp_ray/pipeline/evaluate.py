"""Step: judge all arms, choose k on validation, and write the tables, the report and the MLflow run."""

import logging
from dataclasses import asdict

import pandas as pd

from grasp_ray.config import AuditConfig
from grasp_ray.evaluation.arm_table import confusion_table, judge_arms
from grasp_ray.evaluation.choice import ChosenK, choose_k
from grasp_ray.evaluation.disagreement import disagreement_curves, doubly_read, why_no_curve
from grasp_ray.evaluation.flagger_quality import flagger_quality
from grasp_ray.pipeline.arms import baseline_arms, read_predictions
from grasp_ray.pipeline.publish import publish
from grasp_ray.pipeline.run_folder import (
    ARMS_TABLE,
    COMPARISONS,
    CONFUSION,
    DISAGREEMENT,
    FLAGGER_QUALITY,
    INFLUENCE,
    RunFolder,
)
from grasp_ray.pipeline.run_record import write_run_record
from grasp_ray.pipeline.truth import planted, read_truth
from grasp_ray.pruning.flaggers import flag_images, flag_visits
from grasp_ray.training.arm import DYNAMICS

log = logging.getLogger(__name__)


def evaluate(config: AuditConfig) -> None:
    """Write arms.parquet, comparisons.parquet, disagreement.parquet, …, the report and the MLflow run."""
    run = RunFolder.of(config)
    chosen = _judge(config, run)
    _flaggers(config, run)
    write_run_record(run, config, chosen=asdict(chosen))
    publish(config, run, chosen)


def _judge(config: AuditConfig, run: RunFolder) -> ChosenK:
    predictions = read_predictions(config, run)
    visits = run.manifest().drop_duplicates("visit_id")
    tables = judge_arms(predictions, visits, config.evaluate)
    run.storage.write_table(ARMS_TABLE, tables.arms)
    run.storage.write_table(COMPARISONS, tables.comparisons)
    run.storage.write_table(CONFUSION, confusion_table(predictions, visits, config.evaluate))
    return choose_k(tables.arms)


def _flaggers(config: AuditConfig, run: RunFolder) -> None:
    """How well each flagger finds reader disagreements and, in a simulation, what was planted."""
    influence = run.table(INFLUENCE, made_by="score")
    dynamics = run.table(f"{baseline_arms(config)[0].folder}/{DYNAMICS}", made_by="train")
    visit_scores = flag_visits(dynamics, influence)
    visits = run.manifest().drop_duplicates("visit_id")
    readings = doubly_read(visits[visits["visit_id"].isin(visit_scores["id"])])
    reason = why_no_curve(readings)
    if reason:
        log.info("reader disagreement: no curve, since %s", reason)
    else:
        run.storage.write_table(DISAGREEMENT, disagreement_curves(visit_scores, readings, config.evaluate))
    truth = read_truth(config, run)
    if truth is None:
        return
    quality = [
        flagger_quality(visit_scores, planted(truth, "visit_id", "label_error"), config.evaluate),
        flagger_quality(flag_images(influence), planted(truth, "image_id", "artefact"), config.evaluate),
    ]
    targets = ("label error", "capture artefact")
    frames = [frame.assign(target=target) for frame, target in zip(quality, targets, strict=True)]
    run.storage.write_table(FLAGGER_QUALITY, pd.concat(frames, ignore_index=True))
