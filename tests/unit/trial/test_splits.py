import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grasp_ray.errors import TrialError
from grasp_ray.trial.splits import (
    assign_splits,
    patients_in_two_splits,
    photos_in_two_splits,
    require_splits,
    split_counts,
    visit_labels,
)

PAPER_FRACTIONS = (247 / 344, 28 / 344, 69 / 344)


def visits_of(patients: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "visit_id": f"{patient:04d}-{visit}",
            "patient_id": f"{patient:04d}",
            "class_reader1": rng.integers(3),
        }
        for patient in range(patients)
        for visit in range(rng.integers(1, 5))
    ]
    return pd.DataFrame(rows)


def patients_per_split(visits: pd.DataFrame, splits: pd.Series) -> dict[str, int]:
    return visits.assign(split=splits).groupby("split")["patient_id"].nunique().to_dict()


def test_the_papers_patient_counts_are_met_exactly() -> None:
    visits = visits_of(344)
    splits = assign_splits(visits, PAPER_FRACTIONS, seed=0)
    assert patients_per_split(visits, splits) == {"train": 247, "validation": 28, "test": 69}


@given(
    st.integers(6, 60),
    st.sampled_from([(0.7, 0.1, 0.2), (0.6, 0.2, 0.2), (0.5, 0.5, 0.0)]),
    st.integers(0, 2**32),
)
def test_no_patient_is_in_two_splits_and_counts_are_the_largest_remainder(
    patients: int, fractions: tuple[float, float, float], seed: int
) -> None:
    visits = visits_of(patients, seed)
    splits = assign_splits(visits, fractions, seed=seed)
    assert patients_in_two_splits(visits.assign(split=splits)) == []
    counts = patients_per_split(visits, splits)
    for name, fraction in zip(("train", "validation", "test"), fractions, strict=True):
        assert abs(counts.get(name, 0) - fraction * patients) < 1


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=9),
    st.lists(st.integers(0, 100), min_size=3, max_size=3).filter(any),
)
def test_counts_round_every_cell_row_and_column(sizes: list[int], shares: list[int]) -> None:
    fractions = np.array(shares) / sum(shares)
    counts = split_counts(sizes, fractions)
    expected = np.outer(sizes, fractions)
    assert counts.min() >= 0
    assert counts.sum(axis=1).tolist() == sizes
    assert np.abs(counts.sum(axis=0) - expected.sum(axis=0)).max() < 1
    assert np.abs(counts - expected).max() <= 1 + 1e-6


def test_strata_are_the_patients_worst_class() -> None:
    """One severe visit makes a patient severe, so severe patients are spread over the splits."""
    visits = pd.DataFrame(
        {
            "visit_id": [f"v{row}" for row in range(80)],
            "patient_id": [f"p{row // 2:02d}" for row in range(80)],
            "class_reader1": [2 if row % 2 and row < 20 else 0 for row in range(80)],
        }
    )
    splits = assign_splits(visits, (0.6, 0.2, 0.2), seed=3)
    severe = visits.assign(split=splits)[visits["class_reader1"] == 2]
    assert severe["split"].value_counts().to_dict() == {"train": 6, "validation": 2, "test": 2}


def test_splits_depend_on_the_seed_but_not_on_row_order() -> None:
    visits = visits_of(40)
    splits = assign_splits(visits, (0.7, 0.1, 0.2), seed=1)
    shuffled = visits.sample(frac=1, random_state=5)
    pd.testing.assert_series_equal(
        assign_splits(shuffled, (0.7, 0.1, 0.2), seed=1).sort_index(), splits.sort_index()
    )
    assert not splits.equals(assign_splits(visits, (0.7, 0.1, 0.2), seed=2))


def test_too_few_patients_for_a_split_are_refused() -> None:
    with pytest.raises(TrialError, match="validation would be empty"):
        assign_splits(visits_of(3), (0.7, 0.1, 0.2), seed=0)


def test_a_class_wins_over_the_pasi_and_the_pasi_fills_in() -> None:
    visits = pd.DataFrame(
        {"class_reader1": pd.array([0, None, None], "Int64"), "pasi_reader1": [50.0, 7.0, float("nan")]}
    )
    labels = visit_labels(visits)
    assert labels.fillna(-1).tolist() == [0, 1, -1]
    assert visit_labels(visits, reader=2).isna().all()


def test_an_unlabelled_visit_cannot_be_split() -> None:
    visits = visits_of(10).astype({"class_reader1": "Int64"})
    visits.loc[0, "class_reader1"] = pd.NA
    with pytest.raises(TrialError, match="needs a label"):
        assign_splits(visits, (0.7, 0.1, 0.2), seed=0)


def test_the_same_photo_in_two_splits_is_found_by_content() -> None:
    manifest = pd.DataFrame(
        {
            "image_id": ["a", "b", "c", "d", "e"],
            "visit_id": ["1", "2", "3", "4", "5"],
            "split": ["train", "test", "train", "train", "test"],
        }
    )
    index = pd.DataFrame({"image_id": ["a", "b", "c", "d", "e"], "sha256": ["x", "x", "y", "y", ""]})
    leaks = photos_in_two_splits(manifest, index)
    assert leaks["image_id"].tolist() == ["a", "b"]


def test_a_patient_in_two_splits_is_named() -> None:
    rows = pd.DataFrame({"patient_id": ["p", "q", "p"], "split": ["train", "train", "test"]})
    assert patients_in_two_splits(rows) == ["p"]


def test_a_split_without_visits_is_named() -> None:
    with pytest.raises(TrialError, match="validation, test"):
        require_splits(pd.DataFrame({"split": ["train"]}))
    require_splits(pd.DataFrame({"split": ["train"]}), ["train"])
