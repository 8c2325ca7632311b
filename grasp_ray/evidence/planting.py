"""Wrong labels on purpose, where a real data set must say which flagger finds them."""

import numpy as np
import pandas as pd

from grasp_ray.errors import ConfigError


def plant_label_errors(
    manifest: pd.DataFrame, share: float, *, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest with another label at `share` of the training visits, and the truth of them all.

    The new label is any other class, evenly. Truth: visit_id, patient_id, label_error, reread_label (the
    label before). Raises `ConfigError` when labels are of one class.
    """
    visits = manifest[manifest["split"] == "train"].drop_duplicates("visit_id").sort_values("visit_id")
    labels_V = visits["label"].to_numpy(np.int64)
    classes = int(manifest["label"].max()) + 1
    if classes < 2:
        raise ConfigError("labels of one class cannot be replaced by another: evidence needs two classes.")
    rng = np.random.default_rng([seed, 31])
    chosen_V = np.isin(
        np.arange(len(visits)), rng.choice(len(visits), round(share * len(visits)), replace=False)
    )
    other_V = (labels_V + rng.integers(1, classes, len(visits))) % classes
    given = pd.Series(np.where(chosen_V, other_V, labels_V), index=visits["visit_id"].to_numpy())
    truth = visits[["visit_id", "patient_id"]].assign(label_error=chosen_V, reread_label=labels_V)
    labels = manifest["visit_id"].map(given).fillna(manifest["label"]).astype("int64")
    return manifest.assign(label=labels), truth.reset_index(drop=True)


def shown_artefacts(manifest: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """image_id, artefact: a row for each `prefix`… flag that is 1 on a training photo."""
    train = manifest[manifest["split"] == "train"]
    frames = [
        pd.DataFrame(
            {"image_id": train.loc[train[name].eq(1), "image_id"], "artefact": name.removeprefix(prefix)}
        )
        for name in train.columns
        if str(name).startswith(prefix)
    ]
    empty = pd.DataFrame({"image_id": [], "artefact": []}, dtype="str")
    return pd.concat([empty, *frames], ignore_index=True)
