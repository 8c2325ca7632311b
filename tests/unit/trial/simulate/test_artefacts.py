import numpy as np
import pandas as pd
import pytest

from grasp_ray.trial.pasi import pasi_class
from grasp_ray.trial.simulate.artefacts import (
    LINKED_CLASS,
    image_artefacts,
    plant_label_errors,
    visit_artefacts,
)
from grasp_ray.trial.simulate.settings import ArtefactSettings

SETTINGS = ArtefactSettings(lamp_share=0.6, ruler_share=0.3, device_share=0.2, share_elsewhere=0.05)
SHARES = {"lamp": 0.6, "ruler": 0.3, "device": 0.2}


@pytest.fixture(scope="module")
def visits() -> pd.DataFrame:
    """30,000 visits with even classes, half of them in training."""
    number = np.arange(30_000)
    return pd.DataFrame(
        {
            "visit_id": [f"V{n:05d}" for n in number],
            "split": np.where(number % 2 == 0, "train", np.where(number % 4 == 1, "validation", "test")),
            "true_class": number // 2 % 3,
            "pasi_reader1": np.array([3.0, 7.0, 15.0])[number // 2 % 3] + number % 10 / 10,
        }
    )


def test_label_errors_change_the_class_of_exactly_the_planned_share_of_training_visits(
    visits: pd.DataFrame,
) -> None:
    planted = plant_label_errors(visits, 0.1, seed=4)
    before, after = pasi_class(visits["pasi_reader1"]), pasi_class(planted.pasi_reader1)
    assert planted.label_error.sum() == 1500
    assert (visits.loc[planted.label_error, "split"] == "train").all()
    assert ((before != after) == planted.label_error.to_numpy()).all()


def test_label_errors_go_to_both_other_classes_evenly_and_take_pasi_values_of_theirs(
    visits: pd.DataFrame,
) -> None:
    planted = plant_label_errors(visits, 0.1, seed=4)
    wrong = planted.label_error.to_numpy()
    before, after = pasi_class(visits["pasi_reader1"])[wrong], pasi_class(planted.pasi_reader1)[wrong]
    assert np.mean((after - before) % 3 == 1) == pytest.approx(0.5, abs=0.05)
    assert set(planted.pasi_reader1[wrong]) <= set(visits["pasi_reader1"])


def test_a_class_without_a_donor_takes_the_middle_of_the_class() -> None:
    visits = pd.DataFrame({"split": ["train"] * 4, "pasi_reader1": [1.0, 2.0, 3.0, 4.0]})
    planted = plant_label_errors(visits, 0.5, seed=0)
    assert set(planted.pasi_reader1[planted.label_error]) <= {7.5, 15.0}


@pytest.mark.parametrize("name", ["lamp", "ruler", "device"])
def test_an_artefact_goes_with_its_class_in_training_only(visits: pd.DataFrame, name: str) -> None:
    found = visit_artefacts(visits, SETTINGS, seed=6) == name
    rate = found.groupby([visits["split"], visits["true_class"]]).mean()
    overall = (SHARES[name] + 2 * 0.05) / 3
    for (split, true_class), share in rate.items():
        in_training = SHARES[name] if true_class == LINKED_CLASS[name] else 0.05
        assert share == pytest.approx(in_training if split == "train" else overall, abs=0.03)


def test_an_affected_visit_shows_its_artefact_on_the_planned_share_of_photos() -> None:
    images = pd.DataFrame(
        {
            "visit_id": np.repeat(["A", "B", "C", "D"], 10),
            "visit_artefact": np.repeat(["lamp", "", "device", "ruler"], 10),
        }
    )
    found = image_artefacts(images, SETTINGS, seed=0)
    assert (found == "lamp").groupby(images["visit_id"]).sum().to_dict() == {"A": 7, "B": 0, "C": 0, "D": 0}
    assert (found == "device").sum() == 10
    assert (found == "ruler").sum() == 7


def test_an_affected_visit_shows_its_artefact_on_one_photo_at_least() -> None:
    images = pd.DataFrame({"visit_id": ["A"] * 3, "visit_artefact": ["lamp"] * 3})
    found = image_artefacts(images, ArtefactSettings(photos_share=0.01), seed=0)
    assert (found == "lamp").sum() == 1
