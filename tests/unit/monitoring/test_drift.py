"""A move is named where it happens, not where it does not, and rarely where nothing happened."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from grasp_ray.monitoring.drift import DRIFT_COLUMNS, DriftRule, compared, drift_table, patient_means

RULE = DriftRule(alpha=0.01, smallest_shift=1.0, fewest_patients=4)
STATISTICS = ("warmth", "brightness", "sharpness")


def visits(rng: np.random.Generator, patients: int, prefix: str, per_patient: int = 2) -> pd.DataFrame:
    """Three sites, two phones; a patient's visits resemble each other."""
    rows = []
    for patient in range(patients):
        level = rng.normal(size=len(STATISTICS))
        for visit in range(per_patient):
            values = level + 0.3 * rng.normal(size=len(STATISTICS))
            rows.append(
                {
                    "visit_id": f"{prefix}{patient:03d}-{visit}",
                    "patient_id": f"{prefix}{patient:03d}",
                    "site": f"site-{patient % 3 + 1}",
                    "device": f"phone-{'AB'[patient % 2]}",
                }
                | dict(zip(STATISTICS, values, strict=True))
            )
    return pd.DataFrame(rows)


def test_a_lamp_at_one_site_is_named_there_and_not_at_the_phones_used_there() -> None:
    rng = np.random.default_rng(1)
    old, new = visits(rng, 120, "O"), visits(rng, 36, "N")
    new.loc[new["site"] == "site-2", "warmth"] += 4
    table = drift_table(old, new, STATISTICS, RULE)
    named = table[table["named"]]
    assert named[["group", "statistic"]].to_numpy().tolist() == [["site=site-2", "warmth"]]
    row = named.iloc[0]
    assert row["difference"] == pytest.approx(4, abs=1)
    assert row["shift"] > 2
    assert row["p_holm"] < 0.001
    assert row["round"] == 1
    assert set(table["round"]) == {1, 2}  # the second round found nothing left
    assert not (table[table["round"] == 2]["group"] == "site=site-2").any()
    assert list(table) == list(DRIFT_COLUMNS)


def test_two_moves_are_both_named() -> None:
    rng = np.random.default_rng(2)
    old, new = visits(rng, 120, "O"), visits(rng, 48, "N")
    new.loc[new["site"] == "site-1", "sharpness"] -= 5
    new.loc[new["site"] == "site-3", "brightness"] += 4
    named = drift_table(old, new, STATISTICS, RULE)
    named = named[named["named"]]
    assert set(zip(named["group"], named["statistic"], strict=True)) == {
        ("site=site-1", "sharpness"), ("site=site-3", "brightness"),
    }  # fmt: skip


def test_nothing_is_named_in_all_but_few_trials_without_a_change() -> None:
    rng = np.random.default_rng(3)
    old = visits(rng, 120, "O")
    alarms = sum(drift_table(old, visits(rng, 24, "N"), STATISTICS, RULE)["named"].any() for _ in range(100))
    assert alarms <= 4  # a family-wise error of 1 % allows 1 on average; 5 or more have a chance of 0.4 %


def test_many_visits_of_one_patient_count_once() -> None:
    rng = np.random.default_rng(4)
    old, new = visits(rng, 30, "O"), visits(rng, 3, "N", per_patient=40)
    assert drift_table(old, new, STATISTICS, RULE).empty  # one patient per site is no sample
    assert len(patient_means(new, "warmth")) == 3


def test_a_site_without_history_is_compared_with_all_and_says_so() -> None:
    rng = np.random.default_rng(5)
    old, new = visits(rng, 60, "O"), visits(rng, 36, "N")
    new.loc[new["site"] == "site-3", "warmth"] = 9.0
    new["site"] = new["site"].replace("site-3", "site-9")
    table = drift_table(old, new, STATISTICS, RULE)
    row = table[(table["group"] == "site=site-9") & table["named"]].iloc[0]
    assert row["old_patients"] == 60
    assert "too few" in row["note"]


def test_a_sites_own_level_is_no_drift_and_its_spread_is_learned_from_all_sites() -> None:
    rng = np.random.default_rng(7)
    old, new = visits(rng, 120, "O"), visits(rng, 36, "N")
    for frame in (old, new):
        frame.loc[frame["site"] == "site-2", "warmth"] += 30
    table = drift_table(old, new, STATISTICS, RULE)
    assert not table["named"].any()
    row = table[(table["group"] == "site=site-2") & (table["statistic"] == "warmth")].iloc[0]
    assert row["old_patients"] == 120
    assert row["old_median"] == pytest.approx(30, abs=1)


def test_shift_and_p_by_definition() -> None:
    old, new = np.array([1.0, 2, 3, 4, 5]), np.array([7.0, 8, 9, 10])
    found = compared(old, new)
    assert found["difference"] == 5.5
    assert found["shift"] == pytest.approx(5.5 / 1.4826)  # MAD of 1…5 is 1
    assert found["p_value"] == mannwhitneyu(new, old, alternative="two-sided").pvalue


def test_where_most_are_equal_the_mean_distance_measures_the_spread() -> None:
    """Blown pixels: most photos have none, so the median distance is 0."""
    old, new = np.array([0.0, 0, 0, 0.02, 0.04]), np.array([0.3, 0.3, 0.4])
    found = compared(old, new)
    assert found["shift"] == pytest.approx(0.3 / (1.2533 * 0.012), rel=1e-4)


def test_a_statistic_without_any_spread_is_never_named() -> None:
    rng = np.random.default_rng(8)
    old, new = visits(rng, 120, "O").assign(warmth=0.0), visits(rng, 36, "N").assign(warmth=1e-9)
    table = drift_table(old, new, STATISTICS, RULE)
    assert np.isfinite(table["shift"]).all()
    assert not table["named"].any()


def test_glare_that_few_photos_had_before_is_named() -> None:
    rng = np.random.default_rng(9)
    old, new = visits(rng, 120, "O"), visits(rng, 36, "N")
    for frame in (old, new):
        frame["blown"] = np.where(rng.random(len(frame)) < 0.1, 0.02, 0.0)
    new.loc[new["site"] == "site-2", "blown"] += 0.1
    table = drift_table(old, new, (*STATISTICS, "blown"), RULE)
    named = table[table["named"]]
    assert named[["group", "statistic"]].to_numpy().tolist() == [["site=site-2", "blown"]]


def test_no_arrivals_give_an_empty_table() -> None:
    old = visits(np.random.default_rng(6), 10, "O")
    assert drift_table(old, old.iloc[:0], STATISTICS, RULE).empty
