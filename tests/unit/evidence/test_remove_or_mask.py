"""Both arms act on the same photos: what is left of them is all that differs."""

import numpy as np
import pandas as pd
import pytest

from grasp_ray.evidence.encoded_trial import EncodedTrial
from grasp_ray.evidence.remove_or_mask import photos_for_both, twin_arms

MANIFEST = pd.DataFrame(
    {
        "image_id": ["a1", "a2", "b1", "b2", "c1", "d1"],
        "visit_id": ["a", "a", "b", "b", "c", "d"],
        "patient_id": ["a", "a", "b", "b", "c", "d"],
        "split": ["train"] * 5 + ["test"],
        "label": 0,
    }
)
FEATURES = np.arange(12, dtype=np.float32).reshape(6, 2)
TRIAL = EncodedTrial(MANIFEST, FEATURES, pd.DataFrame(), pd.DataFrame())


def test_photos_without_mask_test_photos_and_the_last_of_a_visit_stay_as_they_are() -> None:
    everything = ["b2", "a2", "a1", "b1", "c1", "d1", "b2", "unknown"]
    assert photos_for_both(everything, TRIAL, ["a1", "a2", "b1", "c1", "d1"]) == ["a2", "b1"]
    assert photos_for_both(everything, TRIAL, MANIFEST["image_id"]) == ["b2", "a2"]


def test_one_arm_lacks_the_photos_and_its_twin_has_them_masked() -> None:
    removed, masked = twin_arms("flagged", TRIAL, -FEATURES, ["a2", "b1"])
    assert (removed.name, masked.name) == ("flagged, removed", "flagged, masked")
    assert removed.share == masked.share == 2 / 5
    assert set(MANIFEST["image_id"]) - set(removed.trial.manifest["image_id"]) == {"a2", "b1"}
    assert np.array_equal(removed.trial.features_IF, FEATURES)
    assert masked.trial.manifest.equals(MANIFEST)
    changed = (masked.trial.features_IF != FEATURES).any(axis=1)
    assert MANIFEST.loc[changed, "image_id"].tolist() == ["a2", "b1"]
    assert np.array_equal(masked.trial.features_IF[changed], -FEATURES[changed])
    assert np.array_equal(TRIAL.features_IF, FEATURES)  # the trial itself keeps its own


def test_a_photo_that_is_not_there_is_no_silent_no_op() -> None:
    with pytest.raises(AssertionError, match="every photo is in the trial"):
        twin_arms("flagged", TRIAL, -FEATURES, ["a2", "unknown"])
