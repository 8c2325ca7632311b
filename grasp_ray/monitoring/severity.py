"""What a score says: calibrated probabilities, expected class, uncertainty, likeness to the training data.

    expected class = Σ_k k p_k
    uncertainty = −Σ_k p_k log p_k / log K   (0 certain, 1 all classes alike)

Shapes: V visits, K classes, D embedding.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy.typing import NDArray

from grasp_ray.evaluation.calibration import at_temperature, expected_calibration_error, fit_temperature
from grasp_ray.monitoring.novelty import NoveltyReference


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A model's temperature, and how far probabilities are from what comes true, before and after."""

    temperature: float
    bins: int
    validation_visits: int
    validation_ece_before: float
    validation_ece_after: float
    """On the visits that the temperature was fitted on: optimistic."""
    test_visits: int
    test_ece_before: float | None
    test_ece_after: float | None
    """On test visits, which took no part; missing where the run has none."""

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def class_columns(predictions: pd.DataFrame) -> list[str]:
    """probability_0, probability_1, … in class order."""
    named = [str(name) for name in predictions.columns if str(name).startswith("probability_")]
    return sorted(named, key=lambda name: int(name.rpartition("_")[2]))


def probabilities(predictions: pd.DataFrame) -> Float[np.ndarray, "V K"]:
    """The probability columns as an array."""
    return predictions[class_columns(predictions)].to_numpy(np.float64)


def calibrate(predictions: pd.DataFrame, visits: pd.DataFrame, *, bins: int) -> Calibration:
    """Fit the temperature on validation visits.

    predictions: visit_id and probabilities. visits: visit_id, split and label (Reader 1), a row per visit.
    """
    joined = predictions.merge(visits[["visit_id", "split", "label"]], on="visit_id", validate="1:1")

    def sample(split: str) -> tuple[Int[np.ndarray, "V"], Float[np.ndarray, "V K"]]:
        rows = joined[joined["split"] == split].sort_values("visit_id")
        return rows["label"].to_numpy(np.int64), probabilities(rows)

    labels_V, probability_VK = sample("validation")
    temperature = fit_temperature(labels_V, probability_VK)
    before, after = _errors(labels_V, probability_VK, temperature, bins)
    test_labels_V, test_probability_VK = sample("test")
    no_test = len(test_labels_V) == 0
    tested = (None, None) if no_test else _errors(test_labels_V, test_probability_VK, temperature, bins)
    return Calibration(
        temperature=temperature,
        bins=bins,
        validation_visits=len(labels_V),
        validation_ece_before=before,
        validation_ece_after=after,
        test_visits=len(test_labels_V),
        test_ece_before=tested[0],
        test_ece_after=tested[1],
    )


def _errors(
    labels_V: Int[np.ndarray, "V"], probability_VK: Float[np.ndarray, "V K"], temperature: float, bins: int
) -> tuple[float, float]:
    """ECE before and after scaling."""
    scaled_VK = at_temperature(probability_VK, temperature)
    before = expected_calibration_error(labels_V, probability_VK, bins=bins)
    return before, expected_calibration_error(labels_V, scaled_VK, bins=bins)


def severity_table(
    predictions: pd.DataFrame,
    embeddings: pd.DataFrame,
    *,
    temperature: float,
    novelty: NoveltyReference,
    usual_quantile: float,
    class_names: tuple[str, ...],
) -> pd.DataFrame:
    """One row per visit, sorted by visit_id.

    visit_id, probability_<k> (calibrated), predicted, predicted_name, expected_class, uncertainty, novelty
    (the distance), novelty_p, unlike_training.
    """
    rows = predictions.merge(embeddings, on="visit_id", validate="1:1").sort_values("visit_id")
    probability_VK = at_temperature(probabilities(rows), temperature)
    distance_V = novelty.distance(np.stack(rows["embedding"].to_list()))
    predicted_V = probability_VK.argmax(axis=1)
    frame = pd.DataFrame({"visit_id": rows["visit_id"].to_numpy()})
    for k in range(len(class_names)):
        frame[f"probability_{k}"] = probability_VK[:, k]
    return frame.assign(
        predicted=predicted_V,
        predicted_name=np.array(class_names, dtype=object)[predicted_V],
        expected_class=expected_class(probability_VK),
        uncertainty=uncertainty(probability_VK),
        novelty=distance_V,
        novelty_p=novelty.p_value(distance_V),
        unlike_training=novelty.unlike(distance_V, quantile=usual_quantile),
    )


def expected_class(probability_VK: Float[np.ndarray, "V K"]) -> Float[np.ndarray, "V"]:
    """Σ_k k p_k, between 0 and K − 1."""
    expected_V: NDArray[np.float64] = probability_VK @ np.arange(probability_VK.shape[1], dtype=np.float64)
    return expected_V


def uncertainty(probability_VK: Float[np.ndarray, "V K"]) -> Float[np.ndarray, "V"]:
    """Predictive entropy as a share of the largest, log K."""
    logarithm_VK = np.log(np.where(probability_VK > 0, probability_VK, 1.0))
    entropy_V = -(probability_VK * logarithm_VK).sum(axis=1) / np.log(probability_VK.shape[1])
    share_V: NDArray[np.float64] = np.clip(entropy_V, 0.0, 1.0)
    return share_V
