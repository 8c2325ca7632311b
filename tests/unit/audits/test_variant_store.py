"""Photo stores of a variant, and folds that keep patients whole."""

import numpy as np
import pytest

from grasp_ray.audits.variant_store import fold_manifest, write_variant_shard
from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.masks import squash_mask
from grasp_ray.trial.photo_store import PhotoStore
from tests.unit.audits.conftest import EMPTY, MarkedRun
from tests.unit.trial.test_masks import LESION


def test_a_variants_store_shows_every_masked_photo_so_and_refuses_the_others(
    marked: MarkedRun, tmp_path
) -> None:
    output = Storage.at(tmp_path / "variant")
    for _, rows in marked.manifest.groupby("photo_shard"):
        write_variant_shard(marked.run, marked.trial, output, rows, "no_roi", "zero")
    rows = marked.manifest[marked.manifest["mask_path"].notna()]
    one = rows[rows["visit_id"] == "P03-w0"]
    before, after = marked.store.read(one)[0], PhotoStore(output).read(one)[0]
    assert np.array_equal(after, before * ~squash_mask(LESION, 32)[..., None])
    empty = rows[rows["visit_id"] == EMPTY]
    with pytest.raises(TrialError, match="marks no pixel"):
        PhotoStore(output).read(empty)


def test_every_patient_is_tested_once_and_never_trained_on_in_the_same_fold(marked: MarkedRun) -> None:
    tested: list[str] = []
    for fold in range(3):
        manifest = fold_manifest(marked.manifest, folds=3, fold=fold, seed=0)
        patients = {split: set(rows["patient_id"]) for split, rows in manifest.groupby("split")}
        assert set(patients) == {"train", "validation", "test"}
        assert not patients["train"] & (patients["validation"] | patients["test"])
        assert not patients["validation"] & patients["test"]
        tested += sorted(patients["test"])
    assert sorted(tested) == sorted(marked.manifest["patient_id"].unique())


def test_more_folds_than_patients_are_refused(marked: MarkedRun) -> None:
    with pytest.raises(TrialError, match=r"masking\.folds=11 needs as many patients; there are 10"):
        fold_manifest(marked.manifest, folds=11, fold=0, seed=0)
