import json

from grasp_ray.tracking.saved_views import ARMS_VIEW, AUDITS_VIEW


def test_a_view_is_named_and_its_state_is_json_inside_json() -> None:
    for view in (ARMS_VIEW, AUDITS_VIEW):
        envelope = json.loads(view.tag_value())
        state = json.loads(envelope["state"])
        assert envelope["name"] == view.name
        assert state["selectedColumns"] == [f"metrics.`{name}`" for name in view.metrics]
        assert state["searchFilter"] == f"tags.`grasp_ray.kind` = '{view.kind}'"
        assert view.tag == f"mlflow.sharedViewState.{view.key}"
        assert f"viewStateShareKey={view.key}&" in view.fragment("7")
        assert len(view.tag_value()) < 5000  # the limit of an experiment tag


def test_arms_show_auc_and_kappa_of_both_readers_grouped_by_audit() -> None:
    assert {"reader1/auc", "reader1/kappa", "reader2/auc", "reader2/kappa", "validation/auc"} == set(
        ARMS_VIEW.metrics
    )
    state = json.loads(json.loads(ARMS_VIEW.tag_value())["state"])
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "grasp_ray.audit"}]
