"""What was planted, joined to the training images alone."""

import pandas as pd

from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.pipeline.truth import planted, read_truth
from grasp_ray.storage import Storage
from tests.unit.pipeline.conftest import MakeConfig


def test_a_real_trial_has_no_truth(make_config: MakeConfig) -> None:
    config = make_config()
    Storage.at(config.trial.uri).write_bytes("visits.csv", b"visit_id\n")
    assert read_truth(config, RunFolder.of(config)) is None


def test_planted_errors_and_artefacts_of_training_images(make_config: MakeConfig) -> None:
    config = make_config()
    run, trial = RunFolder.of(config), Storage.at(config.trial.uri)
    manifest = pd.DataFrame(
        [("a0", "A", "P1", "train"), ("a1", "A", "P1", "train"), ("b0", "B", "P1", "train"),
         ("t0", "T", "P2", "test")],
        columns=["image_id", "visit_id", "patient_id", "split"],
    )  # fmt: skip
    run.storage.write_table("manifest.parquet", manifest)
    images = manifest[["image_id", "visit_id"]].assign(artefact=["", "lamp", "", "ruler"])
    images.loc[len(images)] = ["quarantined", "A", "lamp"]
    visits = pd.DataFrame(
        {"visit_id": ["A", "B", "T"], "true_class": [0, 1, 2], "label_error": [False, True, True]}
    )
    trial.write_table("truth_images.parquet", images)
    trial.write_table("truth_visits.parquet", visits)
    truth = read_truth(config, run)
    assert truth is not None
    assert truth["image_id"].tolist() == ["a0", "a1", "b0"]
    errors = planted(truth, "visit_id", "label_error")
    assert errors.to_numpy().tolist() == [["A", "P1", False], ["B", "P1", True]]
    artefacts = planted(truth, "image_id", "artefact")
    assert dict(zip(artefacts["id"], artefacts["positive"], strict=True)) == {
        "a0": False,
        "a1": True,
        "b0": False,
    }
