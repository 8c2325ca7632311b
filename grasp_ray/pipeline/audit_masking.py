"""Step: the masking audit of a trained run.

runs/<name>/audits/masking/views.parquet       a row per view and visit: probabilities, cosine, hidden_share
                           table.parquet       AUC of every view against the full photos
                           drift.parquet       embedding drift, all and per class
                           baselines.parquet   AUC without any photo: metadata, lesion area
                           lesion_shares.parquet  share of each image that is lesion
                           matrix.parquet      train × test variants, when masking.folds is set
                           skipped.parquet     images without a usable mask, by name
"""

import logging
from functools import partial

import pandas as pd

from grasp_ray.audits.masked_bags import MaskedBags
from grasp_ray.audits.masking import View, views
from grasp_ray.audits.masking_pass import show_views
from grasp_ray.audits.masking_table import (
    LESION_AREA,
    METADATA_COLUMNS,
    drift_by_class,
    masking_table,
    photo_free_baselines,
)
from grasp_ray.audits.settings import Fill
from grasp_ray.config import AuditConfig
from grasp_ray.mil.model import MILModel
from grasp_ray.on_ray.audits import AuditedVisits, explain_visits, lesion_share_of_images
from grasp_ray.on_ray.workers import cpu_workers, gpu_workers
from grasp_ray.pipeline.audit_matrix import train_test_matrix
from grasp_ray.pipeline.audited_run import (
    AUDITS,
    audit_identity,
    audited_arm,
    audited_visits,
    visit_facts,
)
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.pipeline.verdict import publish_verdict

log = logging.getLogger(__name__)

MASKING = f"{AUDITS}/masking"


def audit_masking(config: AuditConfig) -> None:
    """Write audits/masking/…, then bring the verdict page up to date."""
    run = RunFolder.of(config)
    settings = audit_identity(config, run, config.masking.model_dump(mode="json"))
    with run.step("audit_masking", settings) as must_run:
        if must_run:
            _audit(config, run)
    publish_verdict(config, run)


def _audit(config: AuditConfig, run: RunFolder) -> None:
    masking = config.masking
    visits = audited_visits(config, run, masking.splits, masking.visits_per_shard)
    asked = views(masking, len(config.model.class_names))
    found = explain_visits(
        visits,
        {"trained": run.storage.child(audited_arm(config))},
        run.storage.child(f"{MASKING}/parts"),
        partial(_views_of, views=asked, fill=masking.fill),
        workers=gpu_workers(config.cluster),
        what="show masked photos",
    )
    facts = visit_facts(run)
    shown = found["views"].drop(columns="model")
    confidence = config.evaluate.confidence
    run.storage.write_table(f"{MASKING}/views.parquet", shown)
    run.storage.write_table(f"{MASKING}/skipped.parquet", found["skipped"])
    table = masking_table(shown, facts, asked, confidence=confidence)
    run.storage.write_table(f"{MASKING}/table.parquet", table)
    run.storage.write_table(f"{MASKING}/drift.parquet", drift_by_class(shown, facts))
    everything = AuditedVisits(run.storage, visits.trial, run.manifest(), visits.visits_per_shard)
    shares = lesion_share_of_images(everything, workers=cpu_workers(config.cluster))
    run.storage.write_table(f"{MASKING}/lesion_shares.parquet", shares)
    mean_share = shares.groupby("visit_id")["lesion_share"].mean()
    facts["lesion_share"] = facts["visit_id"].map(mean_share)
    baselines = photo_free_baselines(
        facts[facts["split"] == "train"],
        facts[facts["visit_id"].isin(shown["visit_id"])],
        {"metadata": METADATA_COLUMNS, LESION_AREA: ("lesion_share",)},
        confidence=confidence,
    )
    run.storage.write_table(f"{MASKING}/baselines.parquet", baselines)
    if masking.folds:
        run.storage.write_table(f"{MASKING}/matrix.parquet", train_test_matrix(config, run, MASKING))
    run.storage.remove(f"{MASKING}/parts")


def _views_of(
    model: MILModel, masked: MaskedBags, *, views: list[View], fill: Fill
) -> dict[str, pd.DataFrame]:
    return {"views": show_views(model, masked, views, fill)}
