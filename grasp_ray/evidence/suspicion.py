"""Every flagger's scores on one trial, all oriented higher = more suspect.

Shapes: B training photos, V training visits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from grasp_ray.evidence.encoded_trial import EncodedTrial
from grasp_ray.evidence.network import Network
from grasp_ray.monitoring.photo_statistics import photo_statistics
from grasp_ray.pruning.capture_flaggers import capture_outlier, photo_quality, shortcut
from grasp_ray.pruning.embedding_flaggers import knn_disagreement, label_fit
from grasp_ray.pruning.flaggers import flag, flag_images, flag_visits
from grasp_ray.trial.photo_store import PhotoStore


@dataclass(frozen=True)
class Suspicion:
    """Scores of all flaggers on one trial."""

    visits: pd.DataFrame
    """flagger, id (visit), score."""
    images: pd.DataFrame
    """flagger, id (image), score."""
    label_probability: "pd.Series[float]"
    """Out-of-fold probability of each training visit's label, by visit id."""

    def ranking(self, flagger: str) -> list[str]:
        """Visits of a flagger, most suspect first; ties by id."""
        rows = self.visits[self.visits["flagger"] == flagger]
        return list(rows.sort_values(["score", "id"], ascending=[False, True])["id"])


def visit_and_image_suspicion(
    trial: EncodedTrial,
    store: PhotoStore,
    networks: Sequence[Network],
    influences: Sequence[pd.DataFrame],
    *,
    seed: int,
) -> Suspicion:
    """Flaggers from the first network's dynamics and influence, from embeddings, from photos, and by chance.

    Photos are only looked at where the trial knows of artefacts, which is what they are judged by.
    `aum_seeds` is AUM over the epochs of all `networks`: what a second and third training seed adds.
    """
    dynamics, influence = networks[0].dynamics, influences[0]
    by_visit, label_probability = _by_embedding(trial, seed)
    frames = [flag_visits(dynamics, influence)]
    pooled = pd.concat(
        [network.dynamics.assign(epoch=network.dynamics["epoch"] + 10_000 * place)
         for place, network in enumerate(networks)]
    )  # fmt: skip
    frames.append(flag("aum", dynamics=pooled, influence=influence).assign(flagger="aum_seeds"))
    frames += [_long(str(name), by_visit.index, by_visit[name]) for name in by_visit]
    visits = pd.concat(frames, ignore_index=True)
    both = visits[visits["flagger"].isin(["confident_learning", "aum_seeds"])]
    ranks = both.assign(score=both.groupby("flagger")["score"].rank(pct=True))
    combined = ranks.groupby("id", as_index=False)["score"].mean().assign(flagger="combined")
    image_frames = [flag_images(influence)]
    if len(trial.artefacts):
        image_frames.append(_by_capture(trial, store, seed))
    images = pd.concat(image_frames, ignore_index=True)
    return Suspicion(pd.concat([visits, combined], ignore_index=True), images, label_probability)


def _by_embedding(trial: EncodedTrial, seed: int) -> tuple[pd.DataFrame, "pd.Series[float]"]:
    """Columns confident_learning, knn_disagreement and random by visit id; and the label's probability."""
    rows = trial.manifest[trial.manifest["split"] == "train"]
    visits = trial.visits("train")
    labels_V, patients_V = visits["label"].to_numpy(np.int64), visits["patient_id"].to_numpy(dtype=object)
    visit_of_B = pd.Index(visits["visit_id"]).get_indexer(rows["visit_id"])
    features_BF = trial.features_IF[rows.index.to_numpy()]
    fit = label_fit(features_BF, rows, seed=seed)
    pooled_VF = np.zeros((len(visits), features_BF.shape[1]))
    np.add.at(pooled_VF, visit_of_B, features_BF)
    pooled_VF /= np.bincount(visit_of_B)[:, None]
    scores = pd.DataFrame(
        {
            "confident_learning": fit.suspicion_V,
            "knn_disagreement": knn_disagreement(pooled_VF, labels_V, patients_V),
            "random": np.random.default_rng([seed, 11]).random(len(visits)),
        },
        index=pd.Index(visits["visit_id"]),
    )
    return scores, pd.Series(fit.label_probability_V, index=scores.index)


def _by_capture(trial: EncodedTrial, store: PhotoStore, seed: int) -> pd.DataFrame:
    rows = trial.manifest[trial.manifest["split"] == "train"]
    photos_BHWC = store.read(rows)
    statistics_BS = photo_statistics(photos_BHWC).to_numpy()
    labels_B, patients_B = rows["label"].to_numpy(np.int64), rows["patient_id"].to_numpy(dtype=object)
    scores = {
        "photo_quality": photo_quality(photos_BHWC),
        "capture_outlier": capture_outlier(statistics_BS, seed=seed),
        "shortcut": shortcut(statistics_BS, labels_B, patients_B, seed=seed),
        "random": np.random.default_rng([seed, 12]).random(len(rows)),
    }
    return pd.concat([_long(name, rows["image_id"], score) for name, score in scores.items()])


def _long(flagger: str, ids: object, score: object) -> pd.DataFrame:
    return pd.DataFrame({"id": np.asarray(ids), "score": np.asarray(score, dtype=float)}).assign(
        flagger=flagger
    )
