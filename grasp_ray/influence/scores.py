"""Influence scores from raw gradient products, summed over checkpoints (GRASP-PsONet Alg. 1, lines 3–11).

    score(z′, z) = (1/b) Σ_t c_t(z) η_t ⟨g_t(z′), g_t(z)⟩_P        positive = helpful, negative = harmful

c_t is the image's exposure since the previous checkpoint, η_t the learning rate, b the batch size in visits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from grasp_ray.errors import TrialError
from grasp_ray.influence.settings import InfluenceSettings

ORIENTATION = "positive=helpful"
_ABOUT_IMAGE = ["image_id", "visit_id", "patient_id", "label"]


def exposure(draws: pd.Series, settings: InfluenceSettings) -> pd.Series:
    """c_t from the times a visit was drawn between two checkpoints (the "if z ∈ B_t" of line 5)."""
    if settings.exposure == "count":
        return draws.astype("float64")
    if settings.exposure == "any":
        return (draws > 0).astype("float64")
    return pd.Series(1.0, index=draws.index)


def combine(
    raw: pd.DataFrame,
    records: Sequence[Mapping[str, Any]],
    manifest: pd.DataFrame,
    settings: InfluenceSettings,
) -> pd.DataFrame:
    """One row per training image of `raw`, sorted by image_id.

    raw: the rows of `CheckpointReplay.score` for every image and checkpoint, in any order. records: the
    checkpoints' records (epoch, learning_rate, batch_size, draws). manifest: image_id, visit_id,
    patient_id, label.

    Returns image_id, visit_id, patient_id, label, draws (of the visit, all checkpoints), self_influence and
    self_influence_sgd (Σ_t c_t η_t ⟨g, g⟩ under the chosen and the plain product; not divided by b),
    mean_loss and gradient_norm ‖g‖ (means over checkpoints), score:<query_id> …, and orientation. Raises
    `TrialError` unless every image has exactly one row per checkpoint.
    """
    weighted = _weighted(raw, records, manifest, settings)
    dots = sorted(column for column in raw.columns if column.startswith("dot:"))
    factor = weighted["exposure"] * weighted["learning_rate"]
    parts: dict[str, pd.Series] = {
        "draws": weighted["draws"],
        "self_influence": factor * weighted["self_dot"],
        "self_influence_sgd": factor * weighted["self_dot_sgd"],
        "mean_loss": weighted["loss"] / len(records),
        "gradient_norm": weighted["self_dot_sgd"] ** 0.5 / len(records),
    }
    for column in dots:
        name = "score:" + column.removeprefix("dot:")
        parts[name] = factor * weighted[column] / weighted["batch_size"]
    summed = pd.DataFrame(parts).groupby(weighted["image_id"], sort=True).sum(min_count=len(records))
    about = manifest[_ABOUT_IMAGE].drop_duplicates("image_id").set_index("image_id")
    frame = about.join(summed, how="inner").sort_index().reset_index()
    frame["orientation"] = ORIENTATION
    return frame[[*_ABOUT_IMAGE, *parts, "orientation"]]


def _weighted(
    raw: pd.DataFrame,
    records: Sequence[Mapping[str, Any]],
    manifest: pd.DataFrame,
    settings: InfluenceSettings,
) -> pd.DataFrame:
    """`raw` in a fixed order, with each row's exposure, learning rate and batch size."""
    steps = pd.DataFrame(
        [{key: record[key] for key in ("epoch", "learning_rate", "batch_size")} for record in records]
    )
    _refuse_gaps(raw, steps)
    visit_of = manifest.drop_duplicates("image_id").set_index("image_id")["visit_id"]
    ordered = raw.sort_values(["image_id", "epoch"], ignore_index=True)
    ordered = ordered.assign(visit_id=ordered["image_id"].map(visit_of))
    unknown = ordered.loc[ordered["visit_id"].isna(), "image_id"]
    if len(unknown):
        raise TrialError(f"{len(unknown)} scored images are not in the manifest (first: {unknown.min()}).")
    visits = ordered["visit_id"].unique()
    draws = pd.DataFrame(
        [
            (record["epoch"], visit_id, int(record["draws"].get(visit_id, 0)))
            for record in records
            for visit_id in visits
        ],
        columns=["epoch", "visit_id", "draws"],
    )
    ordered = ordered.merge(steps, on="epoch", how="left", validate="m:1")
    ordered = ordered.merge(draws, on=["epoch", "visit_id"], how="left", validate="m:1")
    return ordered.assign(exposure=exposure(ordered["draws"], settings))


def _refuse_gaps(raw: pd.DataFrame, steps: pd.DataFrame) -> None:
    rows_per_image = raw.groupby("image_id")["epoch"].agg(["size", "nunique"])
    strangers = set(raw["epoch"]) - set(steps["epoch"])
    incomplete = rows_per_image[
        (rows_per_image["size"] != len(steps)) | (rows_per_image["nunique"] != len(steps))
    ]
    if strangers or len(incomplete):
        which = (
            f"epochs {sorted(strangers)} have no record" if strangers else f"image {incomplete.index.min()}"
        )
        raise TrialError(
            f"the raw scores do not hold every image once per checkpoint ({len(incomplete)} images differ; "
            f"{which}). Remove the incomplete shards and score again."
        )
