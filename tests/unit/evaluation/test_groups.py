"""Which visits belong to which group."""

import pandas as pd

from grasp_ray.evaluation.groups import visit_groups


def visits(**columns: list[object]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame({"visit_id": [f"V{index}" for index in range(count)], **columns})


def test_groups_come_in_reading_order_with_skin_types_by_the_scale() -> None:
    frame = visits(skin_type=["IV", "I", "III", "I"], sex=["M", "F", "M", "F"], week=[8, 0, 0, 2])
    names = [name for name, _ in visit_groups(frame)]
    assert names == [
        *("all", "skin_type=I", "skin_type=III", "skin_type=IV", "skin_type=I-III", "skin_type=IV-VI"),
        *("sex=F", "sex=M", "week=0", "week=2", "week=8"),
    ]


def test_the_two_ranges_part_the_known_skin_types() -> None:
    members = dict(visit_groups(visits(skin_type=["I", "II", "III", "IV", "V", "VI", None])))
    assert members["skin_type=I-III"].tolist() == [True] * 3 + [False] * 4
    assert members["skin_type=IV-VI"].tolist() == [False] * 3 + [True] * 3 + [False]


def test_a_missing_value_belongs_to_no_group_of_its_column() -> None:
    frame = visits(week=pd.array([0, None, 4], dtype="Int64"), site=["b", "a", None])  # type: ignore[arg-type]
    members = dict(visit_groups(frame))
    assert members["week=0"].tolist() == [True, False, False]
    assert members["week=4"].tolist() == [False, False, True]
    assert members["site=a"].tolist() == [False, True, False]
    assert members["all"].all()


def test_weeks_read_back_as_floats_are_spelled_as_whole_numbers() -> None:
    assert [name for name, _ in visit_groups(visits(week=[4.0, None]))] == ["all", "week=4"]


def test_a_trial_without_these_columns_has_one_group() -> None:
    frame = visits(skin_type=[None, None])
    assert [name for name, _ in visit_groups(frame)] == ["all"]
