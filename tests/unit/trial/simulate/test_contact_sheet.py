import numpy as np

from grasp_ray.storage import Storage
from grasp_ray.trial.simulate.cohort import TrialPlan
from grasp_ray.trial.simulate.contact_sheet import contact_sheet


def test_photos_lie_row_by_row_at_the_cells_side(plan: TrialPlan, rendered: Storage) -> None:
    photos = [rendered.read_bytes(path) for path in plan.images["path"].iloc[:5]]
    sheet = contact_sheet(photos, ["caption"] * 5, columns=3, cell_side_px=40)
    pixels = np.asarray(sheet)
    assert pixels.shape[1] == 3 * 44 + 4
    assert (pixels[4 + 57 : 4 + 57 + 40, 4 + 2 * 44 :] == 255).all()  # the sixth cell stays empty
    assert (pixels[4:44, 4:44] != 255).any()
