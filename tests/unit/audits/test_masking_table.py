"""The masking table by hand: AUC of each view, a paired test, baselines without a photo, one class."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from grasp_ray.audits.masking import View
from grasp_ray.audits.masking_table import drift_by_class, masking_table, photo_free_baselines

GENERATOR = np.random.default_rng(0)
VISITS = pd.DataFrame({"visit_id": [f"v{row:02d}" for row in range(40)], "label": [0, 1] * 20})
VISITS["patient_id"] = VISITS["visit_id"]
VIEWS = [View("full"), View("no_roi"), View("no_roi", 25)]


def shown(noise: dict[str, float]) -> pd.DataFrame:
    frames = []
    for view in VIEWS:
        score = VISITS["label"] + noise[view.key] * GENERATOR.normal(size=len(VISITS))
        probability = 1 / (1 + np.exp(-score))
        frames.append(
            pd.DataFrame(
                {
                    "view": view.key, "visit_id": VISITS["visit_id"], "probability_0": 1 - probability,
                    "probability_1": probability, "cosine": 0.5, "hidden_share": 0.1,
                }
            )
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True).sample(frac=1, random_state=0)  # in no order


def test_rows_are_scikit_learns_auc_and_a_paired_difference() -> None:
    table = shown({"full": 0.3, "no_roi": 3.0, "no_roi+25": 9.0})
    found = masking_table(table, VISITS, VIEWS, confidence=0.95).set_index("view")
    for view in found.index:
        part = table[table["view"] == view].merge(VISITS, on="visit_id")
        assert found.loc[view, "auc"] == pytest.approx(roc_auc_score(part["label"], part["probability_1"]))
    moved = found.loc["no_roi", "auc"] - found.loc["full", "auc"]
    assert found.loc["no_roi", "difference"] == pytest.approx(moved)
    assert found.loc["no_roi+25", "p_value"] < 0.01
    assert np.isnan(found.loc["full", "p_value"])


def test_one_class_has_a_reason_and_no_number() -> None:
    visits = VISITS.assign(label=1)
    table = shown(dict.fromkeys(("full", "no_roi", "no_roi+25"), 1.0))
    found = masking_table(table, visits, VIEWS, confidence=0.95)
    assert set(found["note"]) == {"one class: all 40 visits are of class 1"}
    assert found["auc"].isna().all()


def test_drift_is_the_mean_cosine_over_all_and_per_class() -> None:
    table = shown(dict.fromkeys(("full", "no_roi", "no_roi+25"), 1.0))
    table["cosine"] = table["visit_id"].map(VISITS.set_index("visit_id")["label"]) * 0.5
    found = drift_by_class(table, VISITS).set_index(["view", "label"])["cosine"]
    assert found["no_roi", -1] == pytest.approx(0.25)
    assert (found["no_roi", 0], found["no_roi", 1]) == (0.0, 0.5)


def test_what_needs_no_photo_is_told_apart_from_what_does() -> None:
    labels = np.arange(200) % 3
    visits = pd.DataFrame({"visit_id": range(200), "patient_id": range(200), "label": labels})
    visits["device"] = np.where(GENERATOR.random(200) < 0.9, np.array(["a", "b", "c"])[labels], "a")
    visits["sex"] = GENERATOR.choice(["F", "M"], 200)
    visits.loc[:5, "device"] = None
    visits["site"] = "only one"
    features = {"metadata": ("device",), "sex": ("sex",), "site": ("site",), "share": ("lesion_share",)}
    found = photo_free_baselines(visits[:120], visits[120:], features, confidence=0.95).set_index("features")
    assert found.loc["metadata", "low"] > 0.8
    assert found.loc["sex", "low"] < 0.5 < found.loc["sex", "high"]
    assert found.loc["site", "note"] == "the trial has no varying site"
    assert found.loc["share", "note"] == "the trial has no varying lesion_share"


def test_baselines_of_one_class_have_a_note_and_no_number() -> None:
    visits = pd.DataFrame({"visit_id": range(40), "patient_id": range(40), "label": [0, 1] * 20})
    visits["sex"] = ["F", "M"] * 20
    features = {"metadata": ("sex",)}
    train, held_out = visits[:20], visits[20:]
    trained = photo_free_baselines(train.assign(label=1), held_out, features, confidence=0.95)
    assert trained["note"].tolist() == ["one class: all training visits"]
    judged = photo_free_baselines(train, held_out.assign(label=1), features, confidence=0.95)
    assert judged["note"].tolist() == ["one class: all 20 visits are of class 1"]
    assert trained["auc"].isna().all()
    assert judged["auc"].isna().all()
