"""The pictures of a re-audit show what a test could use."""

import numpy as np
import pandas as pd

from grasp_ray.pipeline.reaudit_publish import group_medians
from grasp_ray.pipeline.visit_rows import WATCHED


def test_a_site_of_which_too_few_patients_came_has_no_point() -> None:
    rows = [("site-1", 0), ("site-1", 0), ("site-1", 0), ("site-2", 0), ("site-1", 1)]
    visits = pd.DataFrame(rows, columns=["site", "arrived"])
    visits["patient_id"] = ["A", "B", "C", "D", "E"]
    for name in WATCHED:
        visits[name] = np.arange(5.0)
    medians = group_medians(visits, "site", fewest=2)
    assert set(zip(medians["number"], medians["group"], strict=True)) == {(0, "site-1")}
    assert set(medians["median"]) == {1.0}
    assert len(group_medians(visits, "site", fewest=1)) == 3 * len(WATCHED)
