"""What is gathered from finished shards, which needs no Ray: skipped images once, and a named refusal."""

from pathlib import Path

import pandas as pd
import pytest

from grasp_ray.errors import TrialError
from grasp_ray.on_ray.audits import AuditedVisits, explain_visits
from grasp_ray.on_ray.shards import Workers
from grasp_ray.storage import Storage

MANIFEST = pd.DataFrame({"visit_id": ["a", "a", "b"], "image_id": ["a1", "a2", "b1"]})
SKIPPED = pd.DataFrame({"image_id": ["a2"], "outcome": ["empty"], "reason": ["mask a2.png marks no pixel"]})


def gathered(tmp_path: Path) -> dict[str, pd.DataFrame]:
    store = Storage.at(tmp_path)
    visits = AuditedVisits(store, store, MANIFEST, visits_per_shard=2)
    return explain_visits(
        visits,
        {"full": store, "no_roi": store},
        store,
        lambda model, masked: {},
        workers=Workers(actors=0),
        what="explain",
    )


def test_an_image_that_is_skipped_under_every_model_is_listed_once(tmp_path: Path) -> None:
    for model in ("full", "no_roi"):
        part = Storage.at(tmp_path).child(f"{model}/part=00000")
        part.write_table("skipped.parquet", SKIPPED)
        part.write_table("views.parquet", pd.DataFrame({"visit_id": ["a", "b"]}))
    found = gathered(tmp_path)
    assert found["skipped"]["image_id"].tolist() == ["a2"]
    assert found["views"]["model"].tolist() == ["full", "full", "no_roi", "no_roi"]


def test_no_usable_mask_at_all_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    for model in ("full", "no_roi"):
        Storage.at(tmp_path).child(f"{model}/part=00000").write_table("skipped.parquet", SKIPPED)
    with pytest.raises(
        TrialError, match=r"none of the 1 images has a usable lesion mask \(first: mask a2\.png"
    ):
        gathered(tmp_path)
