from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from grasp_ray.tracking.registry import decide_alias, save_visit_classifier
from grasp_ray.tracking.served_model import VisitClassifier
from grasp_ray.tracking.settings import TrackSettings

from .test_served_model import SIDE_PX, tiny_model

RULE = TrackSettings()


def champion(auc: str = "0.8", digest: str = "d") -> SimpleNamespace:
    return SimpleNamespace(version="3", tags={"validation_auc": auc, "validation_digest": digest})


def test_the_first_model_is_champion() -> None:
    alias, reason = decide_alias(None, 0.7, "d", RULE)
    assert alias == "champion"
    assert "first" in reason


@pytest.mark.parametrize(
    ("auc", "alias"), [(0.8000001, "champion"), (0.8, "challenger"), (0.79, "challenger")]
)
def test_only_a_strictly_higher_validation_auc_dethrones(auc: float, alias: str) -> None:
    found, reason = decide_alias(champion(), auc, "d", RULE)
    assert found == alias
    assert "version 3" in reason


def test_other_validation_visits_cannot_decide() -> None:
    alias, reason = decide_alias(champion(digest="other"), 0.99, "d", RULE)
    assert alias == "challenger"
    assert "by hand" in reason


@pytest.mark.parametrize(("auc", "alias"), [(0.82, "champion"), (0.8199, "challenger"), (0.9, "champion")])
def test_the_improvement_that_the_config_asks_for_is_needed_and_named(auc: float, alias: str) -> None:
    found, reason = decide_alias(champion(), auc, "d", TrackSettings(promote_improvement=0.02))
    assert found == alias
    assert "by 0.02 or more (track.promote_improvement)" in reason


@pytest.mark.parametrize("rival", [None, champion()])
def test_never_leaves_the_alias_to_a_person(rival: SimpleNamespace | None) -> None:
    alias, reason = decide_alias(rival, 0.99, "d", TrackSettings(promote="never"))
    assert alias == "challenger"
    assert "a person moves the alias" in reason


@pytest.mark.filterwarnings("ignore")  # mlflow.pyfunc warns about its own type hints
def test_the_saved_model_loads_with_pickle_forbidden_and_predicts_for_any_number_of_photos(
    tmp_path: Path,
) -> None:
    model = tiny_model()
    folder = tmp_path / "model"
    save_visit_classifier(
        model, str(folder), image_side_px=SIDE_PX, class_names=("mild", "moderate", "severe")
    )
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert "model.pt2" in files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pth", ".pt"))]
    import mlflow.pyfunc

    loaded = mlflow.pyfunc.load_model(str(folder))  # this room forbids pickle when it is imported
    for photos in (1, 2, 5):
        photos_NHWC = np.random.default_rng(photos).integers(0, 256, (photos, SIDE_PX, SIDE_PX, 3), np.uint8)
        with torch.no_grad():
            wanted = VisitClassifier(model)(torch.from_numpy(photos_NHWC)).numpy()
        np.testing.assert_allclose(loaded.predict(photos_NHWC), wanted, atol=1e-6)
    assert loaded.metadata.metadata["class_names"] == ["mild", "moderate", "severe"]


def test_photos_of_another_size_are_refused_by_the_signature(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_visit_classifier(tiny_model(), str(folder), image_side_px=SIDE_PX, class_names=("a", "b", "c"))
    import mlflow.models

    signature = mlflow.models.get_model_info(str(folder)).signature
    assert signature is not None
    assert signature.inputs.inputs[0].shape == (-1, SIDE_PX, SIDE_PX, 3)
    assert signature.inputs.inputs[0].type == np.dtype(np.uint8)
