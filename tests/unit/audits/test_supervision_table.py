"""Means over seeds with Student's interval, against scipy, and seeds that lack a measure."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from grasp_ray.audits.supervision_table import SHOWN, over_seeds

ROBUST = [0.31, 0.24, 0.40]


def per_seed(robust: list[float]) -> pd.DataFrame:
    rows = [dict.fromkeys(SHOWN, 0.5) | {"robust": value, "seed": seed} for seed, value in enumerate(robust)]
    return pd.DataFrame(rows).assign(supervision="mask", artefact="ink", label=1, class_name="melanoma")


def test_the_interval_is_students_over_seeds() -> None:
    found = over_seeds(per_seed(ROBUST), confidence=0.9).set_index("measure")
    low, high = stats.t.interval(0.9, df=2, loc=np.mean(ROBUST), scale=stats.sem(ROBUST))
    assert found.loc["robust", ["value", "low", "high"]].tolist() == pytest.approx(
        [np.mean(ROBUST), low, high]
    )
    assert found.loc["overall", ["low", "high"]].tolist() == [0.5, 0.5]  # no seed differs
    assert set(found["seeds"]) == {3}


def test_one_seed_has_no_interval_and_a_seed_without_the_measure_takes_it_from_all() -> None:
    alone = over_seeds(per_seed(ROBUST[:1]), confidence=0.9).set_index("measure").loc["robust"]
    assert alone["value"] == pytest.approx(0.31)
    assert np.isnan([alone["low"], alone["high"]]).all()
    missing = over_seeds(per_seed([0.3, np.nan, 0.4]), confidence=0.9).set_index("measure").loc["robust"]
    assert np.isnan([missing["value"], missing["low"]]).all()
