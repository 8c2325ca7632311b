"""A registered model names the files that made it."""

import pandas as pd

from grasp_ray.pipeline.publish import _sources
from grasp_ray.pipeline.run_folder import ArmName, RunFolder
from grasp_ray.trial.manifest import manifest_sha256
from tests.unit.pipeline.conftest import MakeConfig


def test_the_sources_of_a_model_are_its_run_s_files_and_the_ledger_s_head(make_config: MakeConfig) -> None:
    run = RunFolder.of(make_config())
    manifest = pd.DataFrame({"visit_id": ["A"], "image_id": ["A0"], "label": [1]})
    run.storage.write_table("manifest.parquet", manifest)
    decisions = {"ledger": "/ledgers/pilot", "head": "cd" * 32}
    sources = _sources(run, ArmName("influence", 10, 0), {"results": {"decisions": decisions}})
    assert sources == {
        "manifest": f"{run.storage.root}/manifest.parquet",
        "manifest_sha256": manifest_sha256(manifest),
        "influence": f"{run.storage.root}/influence.parquet",
        "removals": f"{run.storage.root}/removals/k=0010.parquet",
        "ledger": "/ledgers/pilot",
        "ledger_head": "cd" * 32,
        "report": f"{run.storage.root}/report/index.html",
    }
    plain = _sources(run, ArmName("baseline", 0, 0), {"results": {}})
    assert set(sources) - set(plain) == {"removals", "ledger", "ledger_head"}
