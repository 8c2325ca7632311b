"""Steps of a run: done once, kept, never mixed with other settings."""

import re

import pytest

from grasp_ray.errors import RunConflictError, StorageError
from grasp_ray.pipeline.run_folder import ArmName, RunFolder
from tests.unit.pipeline.conftest import MakeConfig


@pytest.fixture
def run(make_config: MakeConfig) -> RunFolder:
    return RunFolder.of(make_config())


def test_a_step_that_is_done_is_kept(run: RunFolder) -> None:
    settings = {"influence": {"unit": "singleton", "parameters": ("head.*", "encoder.*")}}
    with run.step("score", settings) as must_run:
        assert must_run
    recorded = run.storage.read_bytes("steps/score.json")
    with run.step("score", settings) as must_run:
        assert not must_run
    assert run.storage.read_bytes("steps/score.json") == recorded


def test_other_settings_are_refused_and_all_that_differ_are_named(run: RunFolder) -> None:
    with run.step("score", {"influence": {"unit": "singleton", "dtype": "float32", "exposure": "any"}}):
        pass
    other = {"influence": {"unit": "in_bag", "dtype": "float32", "exposure": "count"}}
    wanted = r"influence\.exposure was 'any', is 'count'; influence\.unit was 'singleton', is 'in_bag'"
    with pytest.raises(RunConflictError, match=wanted) as caught, run.step("score", other):
        pytest.fail("the block must not run")
    assert "dtype" not in str(caught.value)
    assert "run.name" in str(caught.value)
    with run.step("prepare", other) as must_run:  # another step has its own record
        assert must_run


def test_a_setting_that_came_or_went_differs(run: RunFolder) -> None:
    with run.step("score", {"influence": {"unit": "singleton"}}):
        pass
    with (
        pytest.raises(RunConflictError, match=r"influence\.new was None, is 3"),
        run.step("score", {"influence": {"unit": "singleton", "new": 3}}),
    ):
        pass


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_failing_block_records_nothing(run: RunFolder, failure: type[BaseException]) -> None:
    with pytest.raises(failure), run.step("score", {}):
        raise failure
    assert not run.storage.exists("steps")
    with run.step("score", {}) as must_run:
        assert must_run


def test_a_missing_table_names_the_job_that_makes_it(run: RunFolder) -> None:
    with pytest.raises(StorageError, match=re.escape("influence.parquet is missing: run jobs/score.py")):
        run.table("influence.parquet", made_by="score")


def test_names_of_arms_and_removals(run: RunFolder) -> None:
    arm = ArmName("influence", 300, 2)
    assert (arm.folder, arm.title) == ("arms/influence_k=0300_seed=2", "influence k=300 seed 2")
    assert ArmName("baseline", 0, 1).title == "baseline seed 1"
    assert run.removal_name(300) == "removals/k=0300.parquet"
    control = ArmName("random", 300, 2)
    assert run.removal_name(300, control) == "removals/random_k=0300_seed=2.parquet"
    assert run.arm(arm).root.endswith("runs/pilot/arms/influence_k=0300_seed=2")


def test_a_result_that_is_not_there_names_the_job_that_makes_it(run: RunFolder) -> None:
    with pytest.raises(StorageError, match=r"holds no 'chosen': run jobs/evaluate\.py"):
        run.result("chosen", made_by="evaluate")
    run.storage.write_json("run.json", {"results": {"chosen": {"k": 3}}})
    assert run.result("chosen", made_by="evaluate") == {"k": 3}
