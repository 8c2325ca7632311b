"""The three shortcut audits over a trained run: what they leave, what they name, and that they resume."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from grasp_ray.config import AuditConfig
from grasp_ray.errors import StorageError, TrialError
from grasp_ray.pipeline.audit_masking import audit_masking
from grasp_ray.pipeline.audit_saliency import audit_saliency
from grasp_ray.pipeline.audit_specificity import audit_specificity
from grasp_ray.pipeline.audited_run import require_trained
from grasp_ray.storage import Storage
from grasp_ray.trial.manifest import write_manifest
from tests.tiny_audit import Audited, tiny

pytestmark = pytest.mark.timeout(900)

SETTINGS: dict[str, dict[str, Any]] = {
    "masking": {
        "dilations": [5],
        "folds": 3,
        "shap_images": 1,
        "shap_evaluations": 20,
        "visits_per_shard": 4,
    },
    "saliency": {
        "max_visits": 5,
        "steps": 5,
        "randomised_visits": 2,
        "flagged_visits": 2,
        "gallery_images": 1,
    },
    "specificity": {"supervisions": ["visit", "mask"], "repeats": 2, "smallest_cell": 2},
    "location": {"epochs": 1},
}  # fmt: skip


def png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def config(audited: Audited, home: Path) -> AuditConfig:
    """A copy of the run in which a test image has no mask, one an empty one, one a mask of another size."""
    shutil.copytree(home / "trial", home / "marred")
    shutil.copytree(audited.run.root, home / "runs" / "shortcuts")
    trial, run = Storage.at(home / "marred"), Storage.at(home / "runs" / "shortcuts")
    manifest = run.read_table("manifest.parquet")
    tested = manifest[manifest["split"] == "test"].drop_duplicates("visit_id").head(3)
    paths = tested["mask_path"].tolist()
    manifest.loc[tested.index[0], "mask_path"] = None
    trial.write_bytes(paths[1], png(np.zeros((48, 48), dtype=bool)))
    trial.write_bytes(paths[2], png(np.ones((20, 48), dtype=bool)))
    write_manifest(run, manifest)
    return tiny(home, "shortcuts", trial={"uri": f"{home}/marred"}, **SETTINGS)


@pytest.fixture(scope="module")
def run(config: AuditConfig, home: Path) -> Storage:
    for step in (audit_masking, audit_saliency, audit_specificity):
        step(config)
    return Storage.at(home / "runs" / "shortcuts")


def test_images_without_a_usable_mask_are_left_out_by_name(run: Storage) -> None:
    for audit in ("masking", "saliency"):
        skipped = run.read_table(f"audits/{audit}/skipped.parquet")
        assert set(skipped["outcome"]) <= {"no_mask", "empty", "other_size"}
        assert skipped["reason"].str.len().min() > 10
    outcomes = run.read_table("audits/masking/skipped.parquet")["outcome"].value_counts()
    assert outcomes[["no_mask", "other_size"]].tolist() == [1, 1]
    assert outcomes["empty"] >= 1  # mild visits may have photos without any lesion
    shown = run.read_table("audits/masking/views.parquet")
    visits = {view: tuple(sorted(rows["visit_id"])) for view, rows in shown.groupby("view")}
    assert len(set(visits.values())) == 1  # every view shows the same visits


def test_masking_leaves_its_tables(run: Storage) -> None:
    table = run.read_table("audits/masking/table.parquet")
    assert {"full", "no_roi", "only_roi_box", "no_roi~size_matched", "no_roi+5"} <= set(table["view"])
    assert table.loc[table["view"] == "full", "cosine"].iloc[0] == pytest.approx(1.0)
    matrix = run.read_table("audits/masking/matrix.parquet")
    assert len(matrix) == 5 * 5 * 3
    assert (matrix["auc"].notna() | (matrix["note"] != "")).all()
    assert not run.exists("audits/masking/parts")


def test_saliency_and_specificity_leave_theirs(run: Storage) -> None:
    images = run.read_table("audits/saliency/agreement.parquet")
    assert images["visit_id"].nunique() <= 5
    assert images["lift"].dropna().ge(0).all()
    assert len(run.read_table("audits/saliency/randomised.parquet")) > 0
    artefacts = run.read_table("audits/specificity/artefacts.parquet")
    assert set(artefacts["artefact"]) <= {"lamp", "ruler", "device"}
    per_seed = run.read_table("audits/specificity/per_seed.parquet")
    assert set(zip(per_seed["supervision"], per_seed["seed"], strict=True)) == {
        ("visit", 0), ("visit", 1), ("mask", 0), ("mask", 1),
    }  # fmt: skip


def test_the_verdict_is_a_page_and_a_record(run: Storage) -> None:
    verdict = run.read_json("audits/verdict.json")
    assert {finding["audit"] for finding in verdict["findings"]} >= {"artefacts", "masking", "saliency"}
    page = run.read_bytes("report/audits.html").decode()
    assert verdict["title"] in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_second_time_nothing_is_computed_and_nothing_changes(run: Storage, config: AuditConfig) -> None:
    before = run.read_table("audits/masking/table.parquet")
    written = run.local_path("audits/masking/table.parquet").stat().st_mtime_ns
    audit_masking(config)
    assert run.local_path("audits/masking/table.parquet").stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(run.read_table("audits/masking/table.parquet"), before)


def test_what_is_missing_is_refused_before_work_starts(config: AuditConfig, home: Path) -> None:
    with pytest.raises(StorageError, match=r"run jobs/train.py with the same config first"):
        require_trained(tiny(home, "untrained"))
    run = Storage.at(home / "runs" / "maskless")
    shutil.copytree(
        home / "runs" / "shortcuts", run.root, ignore=shutil.ignore_patterns("audits", "audit_*.json")
    )
    manifest = run.read_table("manifest.parquet")
    manifest["mask_path"] = pd.Series([None] * len(manifest), dtype="str")
    write_manifest(run, manifest)
    with pytest.raises(TrialError, match="no image of test has a lesion mask"):
        audit_masking(tiny(home, "maskless", trial={"uri": f"{home}/marred"}))
