"""One fold of the matrix: each cell's AUC, its test against full → full, and a fold of one class."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from grasp_ray.audits.masking import VARIANTS
from grasp_ray.evaluation.delong import auc_test, binary_auc
from grasp_ray.pipeline.audit_matrix import fold_rows

VISITS = [f"v{row:02d}" for row in range(30)]
LABELS = np.arange(30) % 2


def manifest(labels: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"visit_id": VISITS, "patient_id": VISITS, "label": labels})


def shown() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    frames = []
    for trained in VARIANTS:
        for tested in VARIANTS:
            score = 1 / (1 + np.exp(-(LABELS + generator.normal(size=30))))
            frame = pd.DataFrame({"visit_id": VISITS, "probability_0": 1 - score, "probability_1": score})
            frames.append(frame.assign(model=trained, view=tested))
    return pd.concat(frames, ignore_index=True).sample(frac=1, random_state=0)


def test_every_cell_is_scikit_learns_auc_and_delongs_paired_test() -> None:
    table = shown()
    rows = pd.DataFrame(fold_rows(table, manifest(LABELS), 2, 0.95)).set_index(
        ["train_variant", "test_variant"]
    )
    assert len(rows) == 25
    assert set(rows["fold"]) == {2}
    scores = {
        key: part.sort_values("visit_id")["probability_1"].to_numpy()
        for key, part in table.groupby(["model", "view"])
    }
    cell = ("no_roi", "only_roi_box")
    assert rows.loc[cell, "auc"] == pytest.approx(roc_auc_score(LABELS, scores[cell]))
    difference = binary_auc(LABELS == 1, scores[cell]).minus(binary_auc(LABELS == 1, scores["full", "full"]))
    assert rows.loc[cell, "p_value"] == pytest.approx(auc_test(difference, np.array(VISITS)).p_value)
    assert np.isnan(rows.loc[("full", "full"), "p_value"])


def test_a_fold_of_one_class_has_a_note_in_every_cell_and_no_number() -> None:
    rows = pd.DataFrame(fold_rows(shown(), manifest(np.ones(30, dtype=np.int64)), 0, 0.95))
    assert set(rows["note"]) == {"one class: all 30 visits are of class 1"}
    assert rows["auc"].isna().all()
    assert rows["p_value"].isna().all()
