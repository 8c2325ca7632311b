import numpy as np
import pandas as pd
import pytest

from grasp_ray.trial.pasi import pasi_class
from grasp_ray.trial.simulate.patients import (
    SEXES,
    SKIN_TYPES,
    apportion,
    make_patients,
    make_severity,
    make_visits,
    pasi_at_quantile,
)
from grasp_ray.trial.simulate.settings import SimulateSettings

PAPER = SimulateSettings(size="paper", seed=5)


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    return make_patients(PAPER)


@pytest.fixture(scope="module")
def visits(patients: pd.DataFrame) -> pd.DataFrame:
    return make_visits(patients, PAPER)


def test_sexes_and_skin_types_of_the_paper_are_met_exactly(patients: pd.DataFrame) -> None:
    assert patients["sex"].value_counts().to_dict() == SEXES
    assert patients["skin_type"].value_counts().to_dict() == SKIN_TYPES


def test_splits_hold_the_papers_patients_and_visits(visits: pd.DataFrame) -> None:
    by_split = visits.groupby("split")
    assert by_split["patient_id"].nunique().to_dict() == {"train": 247, "validation": 28, "test": 69}
    assert by_split.size().to_dict() == {"train": 610, "validation": 64, "test": 170}
    assert len(visits.drop_duplicates(["patient_id", "split"])) == 344


def test_a_patient_has_a_baseline_and_one_to_four_visits_at_distinct_weeks(visits: pd.DataFrame) -> None:
    weeks = visits.groupby("patient_id")["week"]
    assert (weeks.min() == 0).all()
    assert weeks.size().between(1, 4).all()
    assert (weeks.nunique() == weeks.size()).all()
    assert set(visits["week"]) == {0, 2, 4, 8}
    assert visits["visit_id"].is_unique


def test_severity_falls_with_the_weeks_of_treatment(visits: pd.DataFrame) -> None:
    means = visits.groupby("week")["true_pasi"].mean()
    assert means.is_monotonic_decreasing
    assert means[8] < 0.6 * means[0]


@pytest.mark.parametrize("size", ["tiny", "demo", "paper"])
def test_every_split_has_the_class_shares_that_were_asked_for(size: str) -> None:
    settings = SimulateSettings.model_validate({"size": size, "class_shares": (0.40, 0.35, 0.25)})
    frame = make_visits(make_patients(settings), settings)
    for _, part in frame.groupby("split"):
        counts = np.bincount(pasi_class(part["true_pasi"]), minlength=3)
        assert (np.abs(counts - np.array([0.40, 0.35, 0.25]) * len(part)) <= 1).all()


def test_pasi_rises_with_its_quantile_and_meets_the_class_edges() -> None:
    shares = (0.3, 0.5, 0.2)
    quantiles = np.linspace(0.001, 0.999, 400)
    assert (np.diff(pasi_at_quantile(quantiles, shares)) > 0).all()
    np.testing.assert_allclose(pasi_at_quantile(np.array([0.3, 0.8]), shares), [5.0, 10.0])


def test_latent_severities_have_the_visits_pasi(visits: pd.DataFrame) -> None:
    np.testing.assert_allclose(make_severity(visits, 5).pasi_V(), visits["true_pasi"], rtol=1e-6)


def test_apportioning_gives_the_total_and_the_nearest_shares() -> None:
    assert apportion(10, {"a": 1, "b": 1, "c": 1}) == {"a": 4, "b": 3, "c": 3}
    assert sum(apportion(61, SKIN_TYPES).values()) == 61
