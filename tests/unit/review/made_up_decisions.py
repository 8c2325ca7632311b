"""Decisions and contents for the tests of the review room."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from grasp_ray.review.content import CONTENT_COLUMNS
from grasp_ray.review.decisions import DECISION_COLUMNS
from grasp_ray.review.ledger import Batch, Decision, append
from grasp_ray.storage import Storage

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SOURCE = {"run": "runs/first", "queue_sha256": "q" * 64, "manifest_sha256": "m" * 64}


def decision(visit_id: str = "V1", image_id: str = "", **changes: Any) -> Decision:
    values: dict[str, Any] = {
        "visit_id": visit_id, "image_id": image_id, "decision": "keep", "value": None, "reviewer": "Dr. A",
        "decided_at": "2026-11-24T09:00:00+00:00", "comment": "",
        "photos": {image_id or f"{visit_id}-0": "aa"},
    }  # fmt: skip
    return Decision(**values | changes)


def recorded(storage: Storage, *decisions: Decision) -> Batch:
    return append(storage, decisions, source=SOURCE, recorded_at=NOW.isoformat())


def rows(*given: dict[str, str]) -> pd.DataFrame:
    """Rows as `read_csv` gives them; a sound `keep` of visit V1 where nothing else is said."""
    sound = dict.fromkeys(DECISION_COLUMNS, "") | {
        "visit_id": "V1", "decision": "keep", "reviewer": "Dr. A", "decided_at": "2026-11-24T09:00:00Z",
    }  # fmt: skip
    return pd.DataFrame([sound | row for row in given], index=range(1, len(given) + 1))


def content() -> pd.DataFrame:
    """V1 and V2 with two photos each."""
    photos = [
        (visit, f"{visit}-{n}", f"{visit}{n}", pasi, 3.0)
        for visit, pasi in (("V1", 4.0), ("V2", 12.0))
        for n in (0, 1)
    ]
    return pd.DataFrame(photos, columns=list(CONTENT_COLUMNS)).astype(CONTENT_COLUMNS)
