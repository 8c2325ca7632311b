"""AUC, average precision and recall of scores against scikit-learn, and their bootstrap."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from grasp_ray.evaluation.flagger_quality import (
    flagger_quality,
    weighted_average_precision,
    weighted_recall,
)
from grasp_ray.evaluation.settings import EvaluateSettings

FEW = EvaluateSettings(bootstrap_draws=300)


def planted(count: int = 120, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    truth = pd.DataFrame({"id": [f"V{i:03d}" for i in range(count)], "positive": rng.random(count) < 0.2})
    score = np.round(rng.normal(size=count) + 1.5 * truth["positive"], 1)  # rounded: ties occur
    scores = pd.DataFrame({"flagger": "self_influence", "id": truth["id"], "score": score})
    return scores.sample(frac=1, random_state=seed), truth


@given(st.integers(2, 40), st.integers(0, 10**6))
@settings(max_examples=60)
def test_weighted_average_precision_is_sklearns(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    score, positive = np.round(rng.random(count), 1), rng.random(count) < 0.4
    positive[0] = True
    weights = rng.integers(0, 4, (3, count)).astype(float)
    weights[:, 0] += 1
    expected = [average_precision_score(positive, score, sample_weight=row) for row in weights]
    assert weighted_average_precision(score, positive, weights) == pytest.approx(expected)


def test_recall_counts_positives_in_the_first_share() -> None:
    score = np.array([5.0, 4, 3, 2, 1, 0, -1, -2, -3, -4])
    positive = np.array([1, 0, 1, 1, 0, 0, 0, 0, 0, 1], dtype=bool)
    ones = np.ones((1, 10))
    assert weighted_recall(score, positive, ones, inspected_share=0.3) == pytest.approx([2 / 4])
    assert weighted_recall(score, positive, ones, inspected_share=0.39) == pytest.approx([2 / 4])
    assert weighted_recall(score, positive, ones, inspected_share=0.4) == pytest.approx([3 / 4])


def test_values_are_sklearns_and_lie_in_their_intervals() -> None:
    scores, truth = planted()
    quality = flagger_quality(scores, truth, FEW).set_index("metric")
    score = scores.set_index("id").loc[truth["id"], "score"]
    assert quality.loc["auc", "value"] == pytest.approx(roc_auc_score(truth["positive"], score))
    expected = average_precision_score(truth["positive"], score)
    assert quality.loc["average_precision", "value"] == pytest.approx(expected)
    assert (quality["low"] < quality["value"]).all()
    assert (quality["value"] < quality["high"]).all()
    assert set(quality["positives"]) == {int(truth["positive"].sum())}


def test_more_resamples_than_fit_one_block_give_the_same_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, truth = planted()
    whole = flagger_quality(scores, truth, FEW)
    monkeypatch.setattr("grasp_ray.evaluation.flagger_quality.MAX_ELEMENTS", 1000)
    pd.testing.assert_frame_equal(flagger_quality(scores, truth, FEW), whole)


def test_images_of_one_patient_are_resampled_together() -> None:
    scores, truth = planted(200)
    visit = np.arange(200) // 10
    truth["positive"] = visit % 5 == 0
    scores = scores.merge(truth, on="id").assign(score=lambda frame: frame["positive"] + 0.0)
    scores.loc[scores["id"].isin(truth["id"][visit % 7 == 0]), "score"] = 0.5
    alone = flagger_quality(scores, truth, FEW)
    together = flagger_quality(scores, truth.assign(patient_id=visit), FEW)
    width = (together["high"] - together["low"]) / (alone["high"] - alone["low"])
    assert (together["value"] == alone["value"]).all()
    assert width[together["metric"] == "auc"].item() > 1.5


def test_ids_without_a_score_are_left_out_and_counted() -> None:
    scores, truth = planted()
    partial = scores[~scores["id"].isin(truth["id"].iloc[:7])]
    quality = flagger_quality(partial, truth, FEW)
    assert set(quality["left_out"]) == {7}
    assert set(quality["examples"]) == {len(truth) - 7}


def test_a_truth_without_errors_has_a_note_and_no_number() -> None:
    scores, truth = planted()
    quality = flagger_quality(scores, truth.assign(positive=False), FEW)
    assert set(quality["note"]) == {"all 120 examples are right"}
    assert quality["value"].isna().all()
    assert len(quality) == 3
