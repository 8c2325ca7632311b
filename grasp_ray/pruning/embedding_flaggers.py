"""Flaggers that need no training of the network: they ask whether a label fits its visit's embedding.

    confident_learning   −(p̂_y − max_{k≠y} p̂_k), with p̂ the out-of-fold probabilities of a class-balanced
                         logistic regression on the photos' embeddings, averaged over a visit's photos
                         (Northcutt et al. 2021; cleanlab's normalised margin)
    knn_disagreement     share of the k nearest visits of other patients with another label

Folds keep a patient together: two visits of one patient look alike, and one would vouch for the other.
Shapes: E examples (photos or visits), B photos, V visits, D embedding, K classes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from cleanlab.rank import get_label_quality_scores
from jaxtyping import Float, Int
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import NearestNeighbors

from grasp_ray.errors import ConfigError

FOLDS = 5

INVERSE_PENALTY = 0.1
"""scikit-learn's C, for embeddings of unit mean square norm."""


def out_of_fold_probabilities(
    embedding_ED: Float[np.ndarray, "E D"],
    labels_E: Int[np.ndarray, "E"],
    patient_ids_E: np.ndarray,
    *,
    folds: int = FOLDS,
    repeats: int = 3,
    seed: int = 0,
) -> Float[np.ndarray, "E K"]:
    """Probabilities of each example from regressions that never saw its patient; geometric mean of `repeats`.

    Columns are the classes 0 … max label. Embeddings are standardised over all examples first. Raises
    `ConfigError` for a class that occurs in fewer patients than folds.
    """
    scaled_ED = _standardised(embedding_ED)
    classes = int(labels_E.max()) + 1
    _refuse_rare_classes(labels_E, patient_ids_E, folds)
    log_EK = np.zeros((len(labels_E), classes))
    for repeat in range(repeats):
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed + repeat)
        for kept, held in splitter.split(scaled_ED, labels_E, patient_ids_E):
            regression = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=500)
            log_EK[held] += regression.fit(scaled_ED[kept], labels_E[kept]).predict_log_proba(scaled_ED[held])
    mean_EK: Float[np.ndarray, "E K"] = softmax(log_EK / repeats, axis=1)
    return mean_EK


def _refuse_rare_classes(labels_E: Int[np.ndarray, "E"], patient_ids_E: np.ndarray, folds: int) -> None:
    for label in range(int(labels_E.max()) + 1):
        patients = len(np.unique(patient_ids_E[labels_E == label]))
        if patients < folds:
            raise ConfigError(
                f"class {label} occurs in {patients} patients and {folds} folds need {folds}: use fewer "
                "folds, or label more visits of that class."
            )


def visit_probabilities(
    probability_BK: Float[np.ndarray, "B K"], visit_of_B: Int[np.ndarray, "B"]
) -> Float[np.ndarray, "V K"]:
    """Geometric mean over the photos of visits 0 … V−1, scaled to a sum of 1."""
    photos_V = np.bincount(visit_of_B)
    log_VK = np.zeros((len(photos_V), probability_BK.shape[1]))
    np.add.at(log_VK, visit_of_B, np.log(np.maximum(probability_BK, 1e-12)))
    mean_VK: Float[np.ndarray, "V K"] = softmax(log_VK / photos_V[:, None], axis=1)
    return mean_VK


def confident_learning(
    labels_E: Int[np.ndarray, "E"], probability_EK: Float[np.ndarray, "E K"]
) -> Float[np.ndarray, "E"]:
    """The module's equation, in [−1, 0]: cleanlab maps the margin m to (m + 1) / 2; higher = more suspect."""
    quality_E: Float[np.ndarray, E] = get_label_quality_scores(
        labels_E, probability_EK, method="normalized_margin"
    )
    return -quality_E


@dataclass(frozen=True)
class LabelFit:
    """How well each visit's label fits its photos."""

    visit_ids: list[str]
    """Ascending."""
    suspicion_V: Float[np.ndarray, "V"]
    """`confident_learning`."""
    label_probability_V: Float[np.ndarray, "V"]
    """Out-of-fold probability of the label."""


def label_fit(
    features_BF: Float[np.ndarray, "B F"], rows: pd.DataFrame, *, seed: int = 0, repeats: int = 1
) -> LabelFit:
    """Judge the label of each visit in `rows` (visit_id, patient_id, label; a row per photo, as features).

    Raises `ConfigError` when a class occurs in fewer than two patients.
    """
    visits = rows.drop_duplicates("visit_id").sort_values("visit_id")
    labels_V, visit_ids = visits["label"].to_numpy(np.int64), visits["visit_id"].astype(str).tolist()
    patients_B = rows["patient_id"].to_numpy(dtype=object)
    labels_B = rows["label"].to_numpy(np.int64)
    patients_of_class = rows.groupby("label")["patient_id"].nunique()
    folds = min(FOLDS, max(2, int(patients_of_class.min())))
    probability_BK = out_of_fold_probabilities(
        features_BF, labels_B, patients_B, folds=folds, repeats=repeats, seed=seed
    )
    probability_VK = visit_probabilities(
        probability_BK, np.searchsorted(np.array(visit_ids), rows["visit_id"].to_numpy(dtype=str))
    )
    return LabelFit(
        visit_ids,
        confident_learning(labels_V, probability_VK),
        probability_VK[np.arange(len(labels_V)), labels_V],
    )


def knn_disagreement(
    embedding_ED: Float[np.ndarray, "E D"],
    labels_E: Int[np.ndarray, "E"],
    patient_ids_E: np.ndarray,
    *,
    neighbours: int = 15,
) -> Float[np.ndarray, "E"]:
    """The module's equation in [0, 1], by cosine similarity of standardised embeddings.

    Raises `ConfigError` when fewer than `neighbours` visits of other patients exist.
    """
    most_of_one = int(np.unique(patient_ids_E, return_counts=True)[1].max())
    asked = neighbours + most_of_one
    if asked > len(labels_E):
        raise ConfigError(f"{neighbours} neighbours of other patients need {asked} visits: lower the number.")
    scaled_ED = _standardised(embedding_ED)
    search = NearestNeighbors(n_neighbors=asked, metric="cosine").fit(scaled_ED)
    near_EN = search.kneighbors(scaled_ED, return_distance=False)
    other_EN = patient_ids_E[near_EN] != patient_ids_E[:, None]
    counted_EN = other_EN & (np.cumsum(other_EN, axis=1) <= neighbours)
    differs_EN = labels_E[near_EN] != labels_E[:, None]
    share_E: Float[np.ndarray, E] = (differs_EN & counted_EN).sum(axis=1) / neighbours
    return share_E


def _standardised(embedding_ED: Float[np.ndarray, "E D"]) -> Float[np.ndarray, "E D"]:
    """Zero mean and unit deviation per column, over √D: rows have a mean square norm of 1."""
    deviation_D = embedding_ED.std(axis=0)
    safe_D = np.where(deviation_D > 0, deviation_D, 1.0)
    scaled_ED: Float[np.ndarray, "E D"] = (embedding_ED - embedding_ED.mean(axis=0)) / safe_D
    scaled_ED /= np.sqrt(embedding_ED.shape[1])
    return scaled_ED
