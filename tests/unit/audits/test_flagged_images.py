"""Effect sizes of flagged images by hand."""

import numpy as np
import pandas as pd
import pytest

from grasp_ray.audits.flagged_images import flagged_effects

IMAGES = pd.DataFrame(
    {
        "image_id": [f"i{row}" for row in range(60)],
        "patient_id": [f"p{row // 2}" for row in range(60)],
        "lift": np.random.default_rng(0).normal(2, 1, 60) - np.repeat([1.0, 0.0], [20, 40]),
        "artefact": np.repeat([1.0, 0.0, 1.0, 0.0], [15, 5, 4, 36]),
        "disagreement": np.nan,
    }
)
FLAGGED = {f"i{row}" for row in range(20)}


def test_delta_counts_pairs_and_shares_are_subtracted() -> None:
    measures = {"lift": "number", "artefact": "yes_no", "disagreement": "yes_no"}
    found = flagged_effects(IMAGES, FLAGGED, measures, draws=300, seed=0, confidence=0.95).set_index(
        "measure"
    )
    flagged, rest = IMAGES["lift"][:20].to_numpy(), IMAGES["lift"][20:].to_numpy()
    delta = np.sign(flagged[:, None] - rest[None, :]).mean()
    assert found.loc["lift", "effect"] == pytest.approx(delta)
    assert found.loc["lift", "low"] < delta < found.loc["lift", "high"] < 0
    assert found.loc["artefact", "effect"] == pytest.approx(15 / 20 - 4 / 40)
    assert found.loc["artefact", "low"] > 0.3
    assert found.loc["disagreement", "note"] == "no values on one side"
