"""Views of an experiment that MLflow's own page offers under "Views": which runs, columns, order and groups.

MLflow keeps a saved view as an experiment tag `mlflow.sharedViewState.<key>` (a name and the page's state as
JSON), and opens it at `…/runs?viewStateShareKey=<key>`. Without one the runs list shows no metric column and
hides child runs; checked against MLflow 3.17.
"""

import json
from dataclasses import dataclass
from typing import Any

KIND_TAG, AUDIT_TAG = "grasp_ray.kind", "grasp_ray.audit"
"""Tags of every run that views filter and group by."""

VIEW_TAG_PREFIX = "mlflow.sharedViewState."


@dataclass(frozen=True)
class SavedView:
    """A named view; `key` is its address."""

    key: str
    name: str
    kind: str
    """Value of the tag `grasp_ray.kind` of the runs it lists: arm | audit."""
    metrics: tuple[str, ...]
    group_by_audit: bool = False

    @property
    def tag(self) -> str:
        """The experiment tag that holds the view."""
        return VIEW_TAG_PREFIX + self.key

    def tag_value(self) -> str:
        """The view as MLflow stores it; the same view gives the same text."""
        state: dict[str, Any] = {
            "selectedColumns": [f"metrics.`{name}`" for name in self.metrics],
            "searchFilter": f"tags.`{KIND_TAG}` = '{self.kind}'",
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
        }
        if self.group_by_audit:
            keys = [{"mode": "tag", "groupByData": AUDIT_TAG}]
            state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
        return json.dumps({"name": self.name, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})

    def fragment(self, experiment_id: str) -> str:
        """The view's address behind the server's."""
        return (
            f"#/experiments/{experiment_id}/runs?viewStateShareKey={self.key}&workflowType=machine_learning"
        )


ARMS_VIEW = SavedView(
    key="grasp_ray_arms",
    name="Arms: AUC and kappa",
    kind="arm",
    metrics=(
        "reader1/auc",
        "reader1/kappa",
        "reader2/auc",
        "reader2/kappa",
        "validation/auc",
    ),
    group_by_audit=True,
)
AUDITS_VIEW = SavedView(
    key="grasp_ray_audits",
    name="Audits: chosen arm and baseline",
    kind="audit",
    metrics=(
        "chosen/k",
        "baseline/reader1/auc",
        "reader1/auc",
        "reader1/kappa",
        "reader2/auc",
        "validation/auc",
    ),
)
