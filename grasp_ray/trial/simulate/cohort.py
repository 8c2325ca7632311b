"""The plan of a simulated trial: every visit, photo and rendering parameter, before anything is drawn.

`plan_trial` is pure. `write_tables` comes last, after every photo is rendered, so a folder with a
visits table holds a whole trial.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from grasp_ray.errors import TrialError
from grasp_ray.storage import Storage
from grasp_ray.trial.pasi import pasi_class
from grasp_ray.trial.simulate.artefacts import image_artefacts, plant_label_errors, visit_artefacts
from grasp_ray.trial.simulate.body_views import BODY_VIEWS, region_of_slots
from grasp_ray.trial.simulate.capture import add_capture_parameters
from grasp_ray.trial.simulate.patients import SPLITS, make_patients, make_severity, make_visits
from grasp_ray.trial.simulate.readers import two_readers
from grasp_ray.trial.simulate.regions import REGIONS, Severity
from grasp_ray.trial.simulate.render import lesion_area_fraction, planned_rows
from grasp_ray.trial.simulate.seeding import seed_of, stream
from grasp_ray.trial.simulate.settings import SimulateSettings

VISIT_COLUMNS = [
    "visit_id",
    "patient_id",
    "week",
    "pasi_reader1",
    "pasi_reader2",
    "split",
    "skin_type",
    "sex",
    "device",
    "site",
]
IMAGE_COLUMNS = ["image_id", "visit_id", "path", "body_view", "mask_path"]
TINTED_DEVICE = "phone-T"
_READING_THREADS = 8


@dataclass(frozen=True)
class TrialPlan:
    """A simulated trial before it is rendered.

    `visits`: the trial's visits table plus true_class, true_pasi, label_error and artefact.
    `images`: the trial's images table plus artefact and every parameter that `render_shard` needs.
    """

    settings: SimulateSettings
    visits: pd.DataFrame
    images: pd.DataFrame

    def shards(self, photos_per_shard: int = 256) -> Iterator[pd.DataFrame]:
        """The planned images in consecutive parts."""
        for low in range(0, len(self.images), photos_per_shard):
            yield self.images.iloc[low : low + photos_per_shard]


def plan_trial(settings: SimulateSettings) -> TrialPlan:
    """Plan the trial that the settings describe; the same settings give the same plan."""
    visits = make_visits(make_patients(settings), settings)
    severity = make_severity(visits, settings.seed)
    visits["true_class"] = pasi_class(visits["true_pasi"].to_numpy(dtype=float))
    visits["artefact"] = visit_artefacts(visits, settings.artefacts, settings.seed)
    visits["device"] = visits["device"].where(visits["artefact"] != "device", TINTED_DEVICE)
    visits = _read_and_plant(visits, severity, settings)
    images = _plan_images(visits, severity, settings)
    return TrialPlan(settings, visits, images)


def _read_and_plant(visits: pd.DataFrame, severity: Severity, settings: SimulateSettings) -> pd.DataFrame:
    """Add both readers' PASI, Reader 1's before planting, and label_error."""
    doubly_read = _doubly_read(visits, settings)
    reader1, reader2 = two_readers(severity, doubly_read.to_numpy(), settings.reader_agreement, settings.seed)
    visits = visits.assign(
        pasi_reader1=reader1,
        pasi_reader1_before_planting=reader1,
        pasi_reader2=pd.Series(reader2, index=visits.index).where(doubly_read).astype("Float64"),
    )
    planted = plant_label_errors(visits, settings.label_error_fraction, settings.seed)
    return visits.assign(pasi_reader1=planted.pasi_reader1, label_error=planted.label_error)


def _doubly_read(visits: pd.DataFrame, settings: SimulateSettings) -> pd.Series:
    """Reader 2 scores all test visits and part of the training visits (GRASP-PsONet, section 3)."""
    training = visits.index[visits["split"] == SPLITS[0]].to_numpy()
    chosen = stream(settings.seed, "reader 2 visits").choice(
        training, size=settings.counts.doubly_read_training_visits, replace=False
    )
    return (visits["split"] == SPLITS[2]) | visits.index.isin(chosen)


def _plan_images(visits: pd.DataFrame, severity: Severity, settings: SimulateSettings) -> pd.DataFrame:
    """One row per photo, sorted by image_id, with every rendering parameter."""
    views = settings.counts.views_per_visit
    rows = visits.index.repeat(views)
    images = visits.loc[rows, ["visit_id", "patient_id", "skin_type", "device"]].reset_index(drop=True)
    images["visit_artefact"] = visits.loc[rows, "artefact"].to_numpy()
    slot = np.tile(np.arange(views), len(visits))
    images.insert(0, "image_id", images["visit_id"] + "-" + pd.Series(slot + 1).map("{:02d}".format))
    images["body_view"] = _body_views(visits, views, settings.seed)
    region = images["body_view"].map({view.name: view.region for view in BODY_VIEWS})
    images["region"] = region
    visit_number = np.repeat(np.arange(len(visits)), views)
    region_number = region.map({name: number for number, name in enumerate(REGIONS)}).to_numpy()
    images["erythema"] = severity.erythema_VR[visit_number, region_number]
    images["induration"] = severity.induration_VR[visit_number, region_number]
    images["desquamation"] = severity.desquamation_VR[visit_number, region_number]
    images["region_area_fraction"] = severity.area_fraction_VR[visit_number, region_number]
    images["artefact"] = image_artefacts(images, settings.artefacts, settings.seed)
    images["path"] = "photos/" + images["visit_id"] + "/" + images["image_id"] + ".jpg"
    images["mask_path"] = "masks/" + images["visit_id"] + "/" + images["image_id"] + ".png"
    images["side_px"] = settings.counts.photo_side_px
    images["render_seed"] = [seed_of(settings.seed, "photo", image_id) for image_id in images["image_id"]]
    keys = zip(images["patient_id"], images["body_view"], strict=True)
    images["layout_seed"] = [seed_of(settings.seed, "layout", *key) for key in keys]
    images = add_capture_parameters(images, settings.seed)
    return images.sort_values("image_id", ignore_index=True)


def _body_views(visits: pd.DataFrame, views: int, seed: int) -> list[str]:
    """View names of all photos, visit by visit: the slots' regions, and views of a region without repeats."""
    slots = region_of_slots(views)
    names: list[str] = []
    for visit_id in visits["visit_id"]:
        rng = stream(seed, "views", visit_id)
        waiting = {
            region: list(rng.permutation([view.name for view in BODY_VIEWS if view.region == region]))
            for region in REGIONS
        }
        names += [str(waiting[region].pop()) for region in slots]
    return names


def write_tables(plan: TrialPlan, storage: Storage) -> None:
    """Write truth_visits, truth_images, images and, last of all, visits.

    Raises `TrialError` naming the first photo that is missing or was rendered from another plan.
    """
    rows = planned_rows(plan.images)
    with ThreadPoolExecutor(_READING_THREADS) as pool:
        areas = list(pool.map(lambda row: lesion_area_fraction(row, storage), rows))
    missing = [row["image_id"] for row, area in zip(rows, areas, strict=True) if area is None]
    if missing:
        raise TrialError(
            f"{len(missing)} of {len(rows)} simulated photos are not rendered (first: {missing[0]}). "
            "Run the simulation again; it renders only what is missing."
        )
    truth_visits = plan.visits[
        ["visit_id", "true_class", "true_pasi", "label_error", "pasi_reader1_before_planting", "artefact"]
    ]
    truth_images = plan.images[["image_id", "visit_id", "artefact"]].assign(
        lesion_area_fraction=np.array(areas, dtype=np.float64)
    )
    storage.write_table("truth_visits.parquet", truth_visits)
    storage.write_table("truth_images.parquet", truth_images)
    storage.write_table("images.parquet", plan.images[IMAGE_COLUMNS])
    storage.write_table("visits.parquet", plan.visits[VISIT_COLUMNS])
