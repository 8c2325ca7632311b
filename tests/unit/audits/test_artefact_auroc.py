"""Robust, aligned and worst-group AUROC against scikit-learn on the subsets that define them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from grasp_ray.audits.artefact_auroc import TOGETHER, Artefact, annotated, artefact_auroc, artefact_table

GENERATOR = np.random.default_rng(3)
VISITS = 400
POSITIVE = GENERATOR.random(VISITS) < 0.4
ARTEFACT = GENERATOR.random(VISITS) < 0.5
PATIENTS = np.arange(VISITS)


def auroc(score: np.ndarray, **changes):
    given = {"smallest_cell": 5, "confidence": 0.95} | changes
    return artefact_auroc(POSITIVE, ARTEFACT, score, PATIENTS, **given)


def test_each_auroc_is_scikit_learns_on_its_subset() -> None:
    score = POSITIVE + 1.5 * ARTEFACT + GENERATOR.normal(size=VISITS)
    found = auroc(score).values
    robust = (POSITIVE & ~ARTEFACT) | (~POSITIVE & ARTEFACT)
    aligned = (POSITIVE & ARTEFACT) | (~POSITIVE & ~ARTEFACT)
    assert found["overall"] == pytest.approx(roc_auc_score(POSITIVE, score))
    assert found["robust"] == pytest.approx(roc_auc_score(POSITIVE[robust], score[robust]))
    assert found["aligned"] == pytest.approx(roc_auc_score(POSITIVE[aligned], score[aligned]))
    within = [roc_auc_score(POSITIVE[part], score[part]) for part in (ARTEFACT, ~ARTEFACT)]
    assert found["worst"] == pytest.approx(min(within))
    assert found["gap"] == pytest.approx(found["aligned"] - found["robust"])


def test_a_model_that_reads_the_artefact_alone_is_perfectly_aligned_and_perfectly_wrong_where_they_part() -> (
    None
):
    found = auroc(ARTEFACT.astype(float)).values
    assert (found["aligned"], found["robust"], found["gap"]) == (1.0, 0.0, 1.0)
    blind = auroc(POSITIVE + GENERATOR.normal(size=VISITS)).values
    assert blind["gap_low"] < 0 < blind["gap_high"]
    assert blind["p_value"] > 0.001


def test_the_gap_is_seldom_found_where_there_is_none() -> None:
    found = [auroc(POSITIVE + GENERATOR.normal(size=VISITS)).values["p_value"] for _ in range(200)]
    assert np.mean(np.array(found) < 0.05) < 0.1


def test_too_few_visits_on_a_side_are_named() -> None:
    rare = np.zeros(VISITS, dtype=bool)
    rare[np.flatnonzero(POSITIVE)[:2]] = True
    found = artefact_auroc(POSITIVE, rare, POSITIVE * 1.0, PATIENTS, smallest_cell=5, confidence=0.95)
    assert found.note == "too few visits: 2 with class and artefact, 0 with artefact alone"
    assert set(found.values.values()) == {None}


def test_an_artefact_is_tested_for_the_class_it_goes_with_in_training_alone() -> None:
    labels = GENERATOR.integers(0, 3, VISITS)
    lamp = (labels == 2) | (GENERATOR.random(VISITS) < 0.1)
    training = np.arange(VISITS) < 200
    found = annotated(pd.DataFrame({"lamp": lamp * 1}), labels, training, 3)
    assert found["lamp"].linked_class == 2
    present, of_class = lamp[training], labels[training] == 2
    assert found["lamp"].link == pytest.approx(of_class[present].mean() - of_class[~present].mean())
    assert found["lamp"].link_p < 1e-6
    chance = annotated(pd.DataFrame({"hair": GENERATOR.random(VISITS) < 0.5}), labels, training, 3)
    assert chance["hair"].link_p > 0.01
    probability = GENERATOR.dirichlet([1, 1, 1], VISITS)
    table = artefact_table(
        labels, probability, {"lamp": Artefact(GENERATOR.random(VISITS) < 0.5, 2, 0.3, 0.001)}, PATIENTS,
        ("mild", "moderate", "severe"), smallest_cell=5, confidence=0.95,
    )  # fmt: skip
    assert table["linked"].tolist() == [False, False, True]
    assert table["p_holm"].isna().tolist() == [True, True, False]
    assert table.loc[2, "p_holm"] == table.loc[2, "p_value"]  # one test needs no correction


def test_all_artefacts_together_say_whether_the_flags_alone_speak_for_the_class() -> None:
    labels = (GENERATOR.random(VISITS) < 0.3).astype(np.int64)
    flags = pd.DataFrame({"ink": labels, "hair": (GENERATOR.random(VISITS) < 0.5) * 1})
    found = annotated(flags, labels, np.arange(VISITS) < 200, 2)
    assert np.array_equal(found[TOGETHER].present_V, labels == 1)
    assert {artefact.linked_class for artefact in found.values()} == {1}


def test_held_out_visits_of_one_class_leave_every_artefact_untested_by_name() -> None:
    lamp = Artefact(ARTEFACT, 1, 0.3, 0.001)
    table = artefact_table(
        np.ones(VISITS, dtype=np.int64), GENERATOR.dirichlet([1, 1], VISITS), {"lamp": lamp}, PATIENTS,
        ("mild", "severe"), smallest_cell=5, confidence=0.95,
    )  # fmt: skip
    assert table["note"].tolist() == ["too few visits: 0 with artefact alone, 0 with neither"]
    assert table[["overall", "robust", "p_holm"]].isna().all(axis=None)
