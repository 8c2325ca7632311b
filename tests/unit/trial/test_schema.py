"""docs/trial_format.md says what the schema says, and the program writes what both say."""

import re
from pathlib import Path

import pandas as pd
import pytest

from grasp_ray.storage import Storage
from grasp_ray.trial import schema
from grasp_ray.trial.manifest import build_manifest
from grasp_ray.trial.photo_store import write_photo_shard
from grasp_ray.trial.settings import TrialSettings
from grasp_ray.trial.tables import read_trial
from grasp_ray.trial.trial_file import TrialNotes

DOCUMENT = (Path(__file__).parents[3] / "docs" / "trial_format.md").read_text()
SECTIONS = {
    "### visits": schema.VISIT_COLUMNS,
    "### images": schema.IMAGE_COLUMNS,
    "## Problems found by the check": schema.PROBLEM_COLUMNS,
    "### manifest.parquet": schema.MANIFEST_COLUMNS,
    "### photos/shard=00000.npy": schema.PHOTO_INDEX_COLUMNS,
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_documents_exactly_the_columns_of_its_schema(heading: str) -> None:
    after = DOCUMENT.split(heading, 1)[1]
    section = re.split(r"^##", after, maxsplit=1, flags=re.MULTILINE)[0]
    written = [line for line in section.splitlines() if line.startswith("| `")]
    assert written == schema.documentation_rows(SECTIONS[heading])


def test_every_key_of_trial_json_is_documented() -> None:
    section = DOCUMENT.split("### trial.json", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"^\| `(\w+)`", section, flags=re.MULTILINE) == list(TrialNotes.model_fields)


def _documented(frame: pd.DataFrame, columns: tuple[schema.Column, ...]) -> bool:
    return all(schema.column_of(columns, str(name)) is not None for name in frame.columns)


def test_no_undocumented_column_is_written(trial: Storage, run: Storage, settings: TrialSettings) -> None:
    manifest = build_manifest(read_trial(trial), settings)
    assert _documented(manifest, schema.MANIFEST_COLUMNS)
    always = schema.names_of(schema.MANIFEST_COLUMNS, presence="always")
    assert set(always) <= set(manifest.columns)
    problems = write_photo_shard(trial, run, manifest[manifest["photo_shard"] == 0], settings)
    index = run.read_table("photos/shard=00000.parquet")
    assert list(index.columns) == [column.name for column in schema.PHOTO_INDEX_COLUMNS]
    assert list(problems.columns) == [column.name for column in schema.PROBLEM_COLUMNS]


def test_artefact_flags_share_one_rule_and_extra_columns_have_none() -> None:
    ruler = schema.column_of(schema.IMAGE_COLUMNS, "artefact_ruler")
    assert ruler is not None
    assert (ruler.minimum, ruler.maximum) == (0, 1)
    assert schema.column_of(schema.IMAGE_COLUMNS, "lens") is None
