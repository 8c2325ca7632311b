"""Part of the masking audit: networks trained on each variant, tested on each (Mask of Truth, Fig. 2).

runs/<name>/audits/masking/matrix/<variant>/photos/…               the variant's photo store
                                            fold=0.parquet          manifest of a fold
                                            arms/fold=0/…           its network
"""

from functools import partial

import numpy as np
import pandas as pd

from grasp_ray.audits.masked_bags import MaskedBags
from grasp_ray.audits.masking import VARIANTS, View
from grasp_ray.audits.masking_pass import show_views
from grasp_ray.audits.masking_table import probability_columns
from grasp_ray.audits.settings import Fill
from grasp_ray.audits.variant_store import fold_manifest
from grasp_ray.config import AuditConfig
from grasp_ray.evaluation.delong import auc_test, one_versus_rest_auc, why_no_auc
from grasp_ray.mil.model import MILModel
from grasp_ray.on_ray.audits import (
    AuditedVisits,
    explain_visits,
    lesion_share_of_images,
    train_networks,
    write_variant_stores,
)
from grasp_ray.on_ray.workers import cpu_workers, gpu_workers
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.storage import Storage
from grasp_ray.training.arm import ArmTraining


def train_test_matrix(config: AuditConfig, run: RunFolder, folder: str) -> pd.DataFrame:
    """A row per training variant, test variant and fold: auc, p_value (DeLong against full → full), visits,
    note. All visits of the trial with masks take part, whatever their split."""
    everything = AuditedVisits(
        run.storage, Storage.at(config.trial.uri), run.manifest(), config.masking.visits_per_shard
    )
    stores = {variant: run.storage.child(f"{folder}/matrix/{variant}") for variant in VARIANTS}
    write_variant_stores(everything, stores, config.masking.fill, workers=cpu_workers(config.cluster))
    with_mask = lesion_share_of_images(everything, workers=cpu_workers(config.cluster))["image_id"]
    manifest = everything.manifest[everything.manifest["image_id"].isin(with_mask)]
    folds = range(config.masking.folds)
    parts = [fold_manifest(manifest, folds=len(folds), fold=fold, seed=config.train.seed) for fold in folds]
    for store in stores.values():
        for fold, part in enumerate(parts):
            store.write_table(_manifest_name(fold), part)
    specs = [_training(config, store, variant, fold) for fold in folds for variant, store in stores.items()]
    train_networks(specs, workers=gpu_workers(config.cluster))
    rows = []
    for fold, part in enumerate(parts):
        tested = AuditedVisits(
            run.storage, everything.trial, part[part["split"] == "test"], everything.visits_per_shard
        )
        found = explain_visits(
            tested,
            {variant: store.child(_arm_folder(fold)) for variant, store in stores.items()},
            run.storage.child(f"{folder}/matrix/parts/fold={fold}"),
            partial(_variants_of, fill=config.masking.fill),
            workers=gpu_workers(config.cluster),
            what=f"test fold {fold + 1} of {len(folds)}",
        )
        rows += fold_rows(found["views"], part, fold, config.evaluate.confidence)
    return pd.DataFrame(rows)


def _manifest_name(fold: int) -> str:
    return f"fold={fold}.parquet"


def _arm_folder(fold: int) -> str:
    return f"arms/fold={fold}"


def _training(config: AuditConfig, store: Storage, variant: str, fold: int) -> ArmTraining:
    return ArmTraining(
        run=store,
        folder=_arm_folder(fold),
        arm=variant,
        k=0,
        seed=config.train.seed,
        model=config.model,
        train=config.train,
        image_side_px=config.trial.image_side_px,
        manifest=_manifest_name(fold),
    )


def _variants_of(model: MILModel, masked: MaskedBags, *, fill: Fill) -> dict[str, pd.DataFrame]:
    return {"views": show_views(model, masked, [View(variant) for variant in VARIANTS], fill)}


def fold_rows(
    shown: pd.DataFrame, manifest: pd.DataFrame, fold: int, confidence: float
) -> list[dict[str, object]]:
    """A row per training and test variant of one fold; a fold of one class has its note and no number.

    `shown` has a row per model, view and visit (`masking_pass.show_views`); `manifest` the fold's visits.
    """
    facts = manifest.drop_duplicates("visit_id").set_index("visit_id")
    columns = probability_columns(shown)
    cells = {key: part.sort_values("visit_id") for key, part in shown.groupby(["model", "view"])}
    visit_ids = cells["full", "full"]["visit_id"]
    labels_V = facts.loc[visit_ids, "label"].to_numpy(dtype=np.int64)
    patients_V = facts.loc[visit_ids, "patient_id"].to_numpy()
    note = why_no_auc(labels_V)
    rows: list[dict[str, object]] = []
    for trained in VARIANTS:
        for tested in VARIANTS:
            row: dict[str, object] = {"train_variant": trained, "test_variant": tested, "fold": fold}
            row |= {"auc": np.nan, "p_value": np.nan, "visits": len(labels_V), "note": note}
            if not note:
                reference = one_versus_rest_auc(labels_V, cells["full", "full"][columns].to_numpy())
                estimate = one_versus_rest_auc(labels_V, cells[trained, tested][columns].to_numpy())
                row["auc"] = estimate.value
                if (trained, tested) != ("full", "full"):
                    row["p_value"] = auc_test(
                        estimate.minus(reference), patients_V, confidence=confidence
                    ).p_value
            rows.append(row)
    return rows
