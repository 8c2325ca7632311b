"""Label flaggers on embeddings: planted errors in separated classes, and the equations by hand."""

import numpy as np
import pandas as pd
import pytest

from grasp_ray.errors import ConfigError
from grasp_ray.pruning.embedding_flaggers import (
    confident_learning,
    knn_disagreement,
    label_fit,
    out_of_fold_probabilities,
    visit_probabilities,
)


@pytest.fixture
def clusters() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """60 visits of 20 patients in three clusters, and labels of which six are wrong."""
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 20)
    embedding = np.eye(3)[true] * 4 + rng.normal(size=(60, 3))
    wrong = np.isin(np.arange(60), [1, 8, 22, 31, 45, 57])
    patients = np.array([f"P{index // 3:02d}" for index in range(60)], dtype=object)
    return embedding, np.where(wrong, (true + 1) % 3, true), patients, wrong


def test_planted_errors_come_first(clusters) -> None:
    embedding, labels, patients, wrong = clusters
    probability = out_of_fold_probabilities(embedding, labels, patients)
    for score in (confident_learning(labels, probability), knn_disagreement(embedding, labels, patients)):
        assert wrong[np.argsort(-score, kind="stable")[:6]].mean() >= 5 / 6


def test_probabilities_are_out_of_fold_by_patient(clusters) -> None:
    """A patient whose visits all carry the same wrong label must not vouch for itself."""
    embedding, labels, patients, _ = clusters
    labels = np.repeat([0, 1, 2], 20)
    labels[:3] = 2
    probability = out_of_fold_probabilities(embedding, labels, patients)
    assert probability.sum(axis=1) == pytest.approx(1.0)
    assert (probability[:3].argmax(axis=1) == 0).all()


def test_the_order_of_rows_and_a_rescaled_embedding_change_no_score(clusters) -> None:
    embedding, labels, patients, _ = clusters
    score = knn_disagreement(embedding, labels, patients)
    order = np.random.default_rng(1).permutation(60)
    moved = knn_disagreement(embedding[order] * 10 + 3, labels[order], patients[order])
    assert moved == pytest.approx(score[order])


def test_confident_learning_is_the_negated_margin_mapped_to_minus_one_to_zero() -> None:
    probability = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    expected = [-(1 + 0.7 - 0.2) / 2, -(1 + 0.1 - 0.6) / 2]
    assert confident_learning(np.array([0, 0]), probability) == pytest.approx(expected)


def test_a_visit_has_the_geometric_mean_of_its_photos() -> None:
    photos = np.array([[0.8, 0.2], [0.2, 0.8], [0.9, 0.1]])
    assert visit_probabilities(photos, np.array([0, 0, 1])) == pytest.approx(
        np.array([[0.5, 0.5], [0.9, 0.1]])
    )


def test_neighbours_of_the_same_patient_do_not_count() -> None:
    embedding = np.array([[0.0, 1.0], [0.0, 1.1], [5.0, 1.0], [5.0, 1.2]])
    patients = np.array(["a", "a", "b", "c"], dtype=object)
    score = knn_disagreement(embedding, np.array([0, 1, 1, 0]), patients, neighbours=1)
    assert score[2] == 1.0 and score[3] == 1.0


def test_too_few_visits_and_too_rare_classes_are_refused(clusters) -> None:
    embedding, labels, patients, _ = clusters
    with pytest.raises(ConfigError, match="neighbours"):
        knn_disagreement(embedding, labels, patients, neighbours=60)
    rare = np.where(patients == "P00", 1, 0)
    with pytest.raises(ConfigError, match="occurs in 1 patients"):
        out_of_fold_probabilities(embedding, rare, patients)


def test_label_fit_pools_a_visits_photos_whatever_their_order(clusters) -> None:
    embedding, labels, patients, wrong = clusters
    visits = [f"V{index:02d}" for index in range(60)]
    rows = pd.DataFrame({"visit_id": visits, "patient_id": patients, "label": labels})
    twice, features = pd.concat([rows, rows]), np.vstack([embedding, embedding])
    fit = label_fit(features, twice)
    assert fit.visit_ids == visits
    assert wrong[np.argsort(-fit.suspicion_V, kind="stable")[:6]].mean() >= 5 / 6
    assert fit.label_probability_V[wrong].max() < np.median(fit.label_probability_V)
    alone = label_fit(embedding, rows)
    assert np.corrcoef(alone.suspicion_V, fit.suspicion_V)[0, 1] > 0.9
