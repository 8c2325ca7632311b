"""What `decide` refuses before it looks at a single row."""

from pathlib import Path

import pytest

from grasp_ray.errors import ConfigError, StorageError, TrialError
from grasp_ray.pipeline.decide import decide
from grasp_ray.pipeline.run_folder import REVIEW_QUEUE, REVIEW_SHOWN, RunFolder
from tests.unit.pipeline.conftest import MakeConfig
from tests.unit.review.made_up_decisions import content

HEADER = "visit_id,image_id,decision,value,reviewer,decided_at,comment\n"


def test_a_config_without_a_ledger_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"trial\.decisions is missing"):
        decide(make_config(), "decisions.csv")


def test_a_run_without_a_queue_names_the_job_that_makes_it(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(trial={"uri": str(tmp_path / "trial"), "decisions": str(tmp_path / "ledger")})
    with pytest.raises(StorageError, match=r"queue\.parquet is missing: run jobs/review\.py"):
        decide(config, str(tmp_path / "decisions.csv"))


@pytest.mark.parametrize(
    ("text", "said"), [(HEADER, "holds no decision"), ("visit_id\nV1\n", "lacks the columns")]
)
def test_a_file_without_decisions_is_refused(
    make_config: MakeConfig, tmp_path: Path, text: str, said: str
) -> None:
    config = make_config(trial={"uri": str(tmp_path / "trial"), "decisions": str(tmp_path / "ledger")})
    for name in (REVIEW_QUEUE, REVIEW_SHOWN):
        RunFolder.of(config).storage.write_table(name, content())
    (tmp_path / "decisions.csv").write_text(text)
    with pytest.raises(TrialError, match=said):
        decide(config, str(tmp_path / "decisions.csv"))
    assert not (tmp_path / "ledger").exists()
