import numpy as np
import pandas as pd
import pytest

from grasp_ray.evaluation.calibration import at_temperature
from grasp_ray.monitoring.novelty import NoveltyReference
from grasp_ray.monitoring.severity import calibrate, expected_class, severity_table, uncertainty


def test_expected_class_and_uncertainty_in_closed_form() -> None:
    probability = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.5, 0.5]])
    np.testing.assert_allclose(expected_class(probability), [0, 1, 1.5])
    np.testing.assert_allclose(uncertainty(probability), [0, 1, np.log(2) / np.log(3)], atol=1e-12)


def predictions(labels: list[int], confidence: float) -> pd.DataFrame:
    """Each visit says class 0 with `confidence`."""
    rest = (1 - confidence) / 2
    frame = pd.DataFrame({"visit_id": [f"V{index:03d}" for index in range(len(labels))]})
    return frame.assign(probability_0=confidence, probability_1=rest, probability_2=rest, predicted=0)


def test_the_temperature_is_fitted_on_validation_and_judged_on_test() -> None:
    labels = [0] * 30 + [1] * 10 + [0] * 15 + [2] * 5  # 75 % right in both
    said = predictions(labels, 0.96)
    visits = pd.DataFrame(
        {"visit_id": said["visit_id"], "split": ["validation"] * 40 + ["test"] * 20, "label": labels}
    )
    found = calibrate(said.sample(frac=1, random_state=0), visits, bins=10)
    assert (found.validation_visits, found.test_visits) == (40, 20)
    assert found.validation_ece_before == pytest.approx(0.96 - 0.75)
    assert found.test_ece_before == pytest.approx(0.96 - 0.75)
    assert found.temperature > 1.5
    assert found.test_ece_after == pytest.approx(found.validation_ece_after)
    assert found.test_ece_after < 0.01
    without_test = calibrate(said.head(40), visits.head(40), bins=10)
    assert (without_test.test_ece_before, without_test.test_visits) == (None, 0)


def test_a_row_per_visit_with_its_own_embedding() -> None:
    said = predictions([0, 0], 0.8)
    embeddings = pd.DataFrame({"visit_id": ["V001", "V000"], "embedding": [[0.0, 1.0], [1.0, 0.0]]})
    novelty = NoveltyReference(np.array([[1.0, 0.0]]), np.array([0.1]), 1)
    table = severity_table(
        said, embeddings, temperature=2.0, novelty=novelty, usual_quantile=0.5, class_names=("a", "b", "c")
    )
    assert table["visit_id"].tolist() == ["V000", "V001"]
    np.testing.assert_allclose(table["novelty"], [0, np.sqrt(2)], atol=1e-12)
    assert table["unlike_training"].tolist() == [False, True]
    assert table["predicted_name"].tolist() == ["a", "a"]
    scaled = at_temperature(np.array([[0.8, 0.1, 0.1]]), 2.0)[0]
    np.testing.assert_allclose(table.loc[0, ["probability_0", "probability_1"]].astype(float), scaled[:2])
