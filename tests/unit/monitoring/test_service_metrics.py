import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from grasp_ray.evaluation.settings import EvaluateSettings
from grasp_ray.monitoring.service_metrics import METRIC_COLUMNS, service_metrics

SETTINGS = EvaluateSettings(bootstrap_draws=100, minimum_group_visits=5)


@pytest.fixture
def visits() -> pd.DataFrame:
    """Sixty visits: looks 0, 1 and 2; patients P00–P09 were trained on, and come back later."""
    rng = np.random.default_rng(0)
    probability = rng.dirichlet([1, 1, 1], 60)
    frame = pd.DataFrame(
        {
            "visit_id": [f"V{index:02d}" for index in range(60)],
            "patient_id": [f"P{index % 40:02d}" for index in range(60)],
            "arrived": np.repeat([0, 1, 2], [30, 15, 15]),
            "split": ["train"] * 10 + ["test"] * 15 + ["validation"] * 35,
            "predicted": probability.argmax(axis=1),
            "class_reader1": pd.array(rng.integers(0, 3, 60), dtype="Int64"),
            "class_reader2": pd.array([None] * 60, dtype="Int64"),
        }
    )
    for k in range(3):
        frame[f"probability_{k}"] = probability[:, k]
    return frame


def test_each_scope_is_scikit_learns_metric_on_patients_the_model_never_saw(visits: pd.DataFrame) -> None:
    table = service_metrics(visits, 2, SETTINGS)
    assert list(table) == list(METRIC_COLUMNS)
    values = table[table["reader"] == "reader1"].set_index(["scope", "metric"])["value"]
    unseen = visits[~visits["patient_id"].isin([f"P{index:02d}" for index in range(10)])]
    scopes = {
        "standing": (unseen["arrived"] == 0) & (unseen["split"] == "test"),
        "since": unseen["arrived"] > 0,
        "this time": unseen["arrived"] == 2,
    }
    for scope, chosen in scopes.items():
        rows = unseen[chosen]
        labels = rows["class_reader1"].to_numpy(np.int64)
        probability = rows[["probability_0", "probability_1", "probability_2"]].to_numpy()
        assert values[scope, "auc"] == pytest.approx(
            roc_auc_score(np.eye(3)[labels].ravel(), probability.ravel())
        )
        kappa = cohen_kappa_score(labels, rows["predicted"], weights="linear", labels=[0, 1, 2])
        assert values[scope, "kappa"] == pytest.approx(kappa)


def test_an_unread_scope_says_so(visits: pd.DataFrame) -> None:
    table = service_metrics(visits, 2, SETTINGS)
    unread = table[table["reader"] == "reader2"]
    assert unread["value"].isna().all()
    assert set(unread["note"]) == {"no visit has a label of reader2"}


def test_the_standing_audit_has_one_scope(visits: pd.DataFrame) -> None:
    assert set(service_metrics(visits[visits["arrived"] == 0], 0, SETTINGS)["scope"]) == {"standing"}
