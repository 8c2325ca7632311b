import pytest
import torch

from grasp_ray.errors import StorageError
from grasp_ray.mil.model import build_model
from grasp_ray.storage import Storage
from grasp_ray.training.trained_model import TrainedModelRecord, load_trained_model, save_trained_model
from tests.planted_run import SIDE_PX, TINY_MODEL


def test_a_model_comes_back_without_its_initial_weights_file(tmp_path):
    settings = TINY_MODEL.model_copy(update={"weights": "no/such/file.safetensors"})
    model = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=3)
    record = TrainedModelRecord(
        model=settings.model_dump(mode="json"),
        image_side_px=SIDE_PX,
        epoch=4,
        validation_auc=0.75,
        manifest_sha256="ab",
        versions={},
        git_commit="",
    )
    save_trained_model(Storage.at(tmp_path), dict(model.state_dict()), record)
    trained = load_trained_model(Storage.at(tmp_path))
    assert trained.record == record
    assert trained.settings == settings
    assert not trained.model.training
    torch.testing.assert_close(dict(trained.model.state_dict()), dict(model.state_dict()), rtol=0, atol=0)


def test_an_arm_without_a_model_says_so(tmp_path):
    with pytest.raises(StorageError, match="holds no trained model"):
        load_trained_model(Storage.at(tmp_path))
