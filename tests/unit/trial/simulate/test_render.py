import subprocess
import sys
from pathlib import Path

from grasp_ray.storage import Storage
from grasp_ray.trial.photos import decode_photo
from grasp_ray.trial.simulate.cohort import TrialPlan
from grasp_ray.trial.simulate.render import (
    lesion_area_fraction,
    planned_rows,
    render_shard,
    row_fingerprint,
)

IN_ANOTHER_PROCESS = """
import sys
from grasp_ray.storage import Storage
from grasp_ray.trial.simulate.cohort import plan_trial
from grasp_ray.trial.simulate.render import render_shard
from grasp_ray.trial.simulate.settings import SimulateSettings
rows = plan_trial(SimulateSettings(size="tiny", seed=3)).images.iloc[[5, 2]]
render_shard(rows, Storage.at(sys.argv[1]))
"""


def test_the_bytes_do_not_depend_on_order_shard_or_process(
    plan: TrialPlan, rendered: Storage, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS, str(tmp_path)], check=True)
    other = Storage.at(tmp_path)
    for row in planned_rows(plan.images.iloc[[2, 5]]):
        assert other.read_bytes(row["path"]) == rendered.read_bytes(row["path"])
        assert other.read_bytes(row["mask_path"]) == rendered.read_bytes(row["mask_path"])


def test_rendering_again_draws_only_what_is_missing_or_planned_otherwise(
    plan: TrialPlan, tmp_path: Path
) -> None:
    storage = Storage.at(tmp_path)
    rows = plan.images.iloc[:6]
    assert render_shard(rows, storage) == 6
    assert render_shard(rows, storage) == 0
    storage.remove(rows["mask_path"].iloc[3])
    assert render_shard(rows, storage) == 1
    assert render_shard(rows.assign(coverage=rows["coverage"] * 0.5), storage) == 6


def test_a_photo_decodes_to_its_side_and_its_mask_has_the_same(plan: TrialPlan, rendered: Storage) -> None:
    row = planned_rows(plan.images.iloc[:1])[0]
    photo = decode_photo(rendered.read_bytes(row["path"]), image_side_px=48, max_megapixels=1)
    assert photo.shape == (48, 48, 3)
    assert photo.std() > 5
    area = lesion_area_fraction(row, rendered)
    assert area is not None
    assert 0 <= area < 1


def test_a_fingerprint_tells_rows_apart_by_any_column(plan: TrialPlan) -> None:
    row = planned_rows(plan.images.iloc[:1])[0]
    changed = [row | {column: "x"} for column in row]
    assert len({row_fingerprint(one) for one in [row, *changed]}) == 1 + len(row)


def test_an_image_rendered_from_another_row_has_no_area(plan: TrialPlan, rendered: Storage) -> None:
    row = planned_rows(plan.images.iloc[:1])[0]
    assert lesion_area_fraction(row | {"erythema": 9.9}, rendered) is None
