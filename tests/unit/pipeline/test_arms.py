"""Which arms an audit trains, under which names."""

import pandas as pd
import pytest

from grasp_ray.errors import StorageError
from grasp_ray.pipeline.arms import baseline_arms, pruned_arms, read_predictions, seeds
from grasp_ray.pipeline.run_folder import ArmName, RunFolder
from tests.unit.pipeline.conftest import MakeConfig


def test_every_k_has_influence_and_its_controls_for_every_seed(make_config: MakeConfig) -> None:
    prune = {"ks": [10, 20], "suspect_percents": [5], "repeats": 2, "controls": ["random"]}
    config = make_config(train={"seed": 3}, prune=prune)
    assert seeds(config) == [3, 4]
    assert baseline_arms(config) == [ArmName("baseline", 0, 3), ArmName("baseline", 0, 4)]
    assert pruned_arms(config) == [
        ArmName(arm, k, seed)
        for k, arms in (
            (10, ("influence", "random")),
            (20, ("influence", "random")),
            (5, ("suspects", "suspects_random")),
        )
        for arm in arms
        for seed in (3, 4)
    ]
    folders = [name.folder for name in (*baseline_arms(config), *pruned_arms(config))]
    assert len(set(folders)) == 2 + 3 * 2 * 2
    assert folders[-1] == "arms/suspects_random_percent=0005_seed=4"


def test_without_controls_only_removals_are_retrained(make_config: MakeConfig) -> None:
    config = make_config(prune={"ks": [5], "suspect_percents": [5], "controls": []})
    assert pruned_arms(config) == [ArmName("influence", 5, 0), ArmName("suspects", 5, 0)]


def test_predictions_of_all_arms_carry_their_arm_and_split(make_config: MakeConfig) -> None:
    config = make_config(prune={"ks": [5], "suspect_percents": [], "controls": []})
    run = RunFolder.of(config)
    manifest = pd.DataFrame({"visit_id": ["A", "A", "B"], "split": ["validation", "validation", "test"]})
    run.storage.write_table("manifest.parquet", manifest)
    for number, name in enumerate((*baseline_arms(config), *pruned_arms(config))):
        frame = pd.DataFrame({"visit_id": ["B", "A"], "predicted": [number, number]})
        run.storage.write_table(f"{name.folder}/predictions.parquet", frame)
    found = read_predictions(config, run)
    rows = found[["arm", "k", "seed", "visit_id", "split", "predicted"]].to_numpy().tolist()
    assert rows == [
        ["baseline", 0, 0, "B", "test", 0],
        ["baseline", 0, 0, "A", "validation", 0],
        ["influence", 5, 0, "B", "test", 1],
        ["influence", 5, 0, "A", "validation", 1],
    ]
    run.storage.remove("arms/influence_k=0005_seed=0")
    with pytest.raises(StorageError, match=r"jobs/prune\.py"):
        read_predictions(config, run)
