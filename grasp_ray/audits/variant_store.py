"""A photo store whose photos are shown as a variant has them, for training on it, and folds by patient."""

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from grasp_ray.audits.masking import masked_photo
from grasp_ray.audits.settings import Fill, Variant
from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.masks import load_masks
from grasp_ray.trial.photo_store import shard_name


def write_variant_shard(
    run: Storage, trial: Storage, output: Storage, rows: pd.DataFrame, variant: Variant, fill: Fill
) -> None:
    """Write one shard of the run's photo store as `variant` shows it; one that is there is kept.

    An image without a usable mask has its problem noted, so that reading it is refused.
    """
    name = shard_name(int(rows["photo_shard"].iloc[0]))
    if output.exists(f"{name}.parquet"):
        return
    index = run.read_table(f"{name}.parquet")
    photos_nSS3 = np.array(run.read_array(f"{name}.npy"))
    loaded = load_masks(trial, rows, index, photos_nSS3.shape[1])
    row_of = dict(zip(index["image_id"], index["photo_row"], strict=True))
    for image_id, mask_SS in zip(loaded.image_ids, loaded.masks_MSS, strict=True):
        row = row_of[image_id]
        photos_nSS3[row] = masked_photo(photos_nSS3[row], mask_SS, variant, fill)
    reason = dict(zip(loaded.skipped["image_id"], loaded.skipped["reason"], strict=True))
    index["problem"] = index["image_id"].map(reason).fillna(index["problem"])
    output.write_array(f"{name}.npy", photos_nSS3)
    output.write_table(f"{name}.parquet", index)


def fold_manifest(manifest: pd.DataFrame, *, folds: int, fold: int, seed: int) -> pd.DataFrame:
    """The manifest with `split` set anew: `fold` is tested, the next one validates, the others train.

    Folds hold whole patients and about equal class shares. `TrialError` when there are fewer patients than
    folds.
    """
    visits = manifest.drop_duplicates("visit_id")
    if visits["patient_id"].nunique() < folds:
        raise TrialError(
            f"masking.folds={folds} needs as many patients; there are {visits['patient_id'].nunique()}."
        )
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    parts = list(splitter.split(visits, visits["label"], visits["patient_id"]))
    fold_of = pd.Series(0, index=visits["visit_id"])
    for number, (_, tested) in enumerate(parts):
        fold_of.iloc[tested] = number
    names = {fold: "test", (fold + 1) % folds: "validation"}
    return manifest.assign(split=manifest["visit_id"].map(fold_of).map(names).fillna("train"))
