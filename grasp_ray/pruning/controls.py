"""Control removals: as many training images as the influence arm lost, chosen by chance.

They answer whether it matters *which* images leave, or merely how many (random) and of which class
(class-matched).
"""

import numpy as np
import pandas as pd

from grasp_ray.pruning.removal import REMOVAL_COLUMNS, EmptyVisit, training_rows
from grasp_ray.pruning.settings import Control

STREAMS: dict[Control, int] = {"random": 1, "class_matched": 2}
"""Keeps the two controls of one seed and k independent."""


def control_removal(
    control: Control,
    removed: pd.DataFrame,
    manifest: pd.DataFrame,
    *,
    k: int,
    control_seed: int,
    empty_visit: EmptyVisit,
) -> pd.DataFrame:
    """A removal (REMOVAL_COLUMNS) of as many images as `removed` takes from training at this k.

    `random` draws from all training images, `class_matched` as many per class label as `removed` takes. With
    `keep_one` no visit loses its last image. The draw depends on (control, control_seed, k) and the set of
    training images only. What the influence arm removed may be drawn too: chance does not know it.
    """
    train = training_rows(manifest)
    gone = removed[removed["kept_because"] == ""]
    rng = np.random.default_rng([control_seed, k, STREAMS[control]])
    shuffled = train.iloc[rng.permutation(len(train))]
    if empty_visit == "keep_one":  # the last of each visit in random order may not leave
        shuffled = shuffled[shuffled.duplicated("visit_id", keep="last")]
    drawn = drawn_like(control, shuffled, gone)
    return _as_removal(drawn.sort_values("image_id"))


def drawn_like(control: Control, shuffled: pd.DataFrame, gone: pd.DataFrame) -> pd.DataFrame:
    """The first rows of `shuffled` (label), as many as `gone` has: of all, or of each class."""
    if control == "random":
        drawn = shuffled.head(len(gone))
    else:
        wanted = shuffled["label"].map(gone["label"].value_counts()).fillna(0)
        drawn = shuffled[shuffled.groupby("label").cumcount() < wanted]
    assert len(drawn) == len(gone), "the removal itself shows that so many can leave"
    return drawn


def _as_removal(drawn: pd.DataFrame) -> pd.DataFrame:
    report = drawn[["image_id", "visit_id", "patient_id", "label"]].assign(
        times_listed=0, query_ids="", best_rank=None, worst_score=np.nan, kept_because=""
    )
    return report[list(REMOVAL_COLUMNS)].astype(REMOVAL_COLUMNS).reset_index(drop=True)
