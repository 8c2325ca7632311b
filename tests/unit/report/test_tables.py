from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from grasp_ray.report.inputs import ReportInputs
from grasp_ray.report.tables import (
    arm_keys,
    arm_title,
    blocks,
    comparison_of,
    comparison_table,
    contrasts_present,
    mean_over_seeds,
    readers_present,
)


def table_of(inputs: ReportInputs) -> pd.DataFrame:
    return comparison_table(inputs.arms, inputs.comparisons, inputs.removal_summary)


def test_rows_run_from_the_baseline_through_each_k_with_its_controls_behind(
    report_inputs: ReportInputs,
) -> None:
    shuffled = report_inputs.arms.sample(frac=1, random_state=1)
    assert arm_keys(shuffled)[:4] == [
        ("baseline", 0),
        ("influence", 100),
        ("random", 100),
        ("class_matched", 100),
    ]
    ks = [k for _, k in arm_keys(shuffled)]
    assert ks == sorted(ks)


def test_every_number_is_the_one_in_the_run_s_tables(report_inputs: ReportInputs) -> None:
    table = table_of(report_inputs).set_index(["arm", "k"])
    arms = report_inputs.arms
    means = arms[(arms["seed"] == -1) & (arms["group"] == "all")]
    for row in means.itertuples():
        if row.metric not in ("auc", "kappa"):
            continue
        if row.split == "validation" and row.metric == "kappa":
            continue
        name = "validation_auc" if row.split == "validation" else f"{row.reader}_{row.metric}"
        line = table.loc[(row.arm, row.k)]
        assert (line[name], line[f"{name}_low"], line[f"{name}_high"]) == (row.value, row.low, row.high)
    wanted = comparison_of(report_inputs.comparisons, "influence", 300, "class_matched")
    assert wanted is not None
    line = table.loc[("influence", 300)]
    assert line["against_class_matched"] == wanted["difference"]
    assert line["against_class_matched_p"] == wanted["p_value"]
    assert line["against_class_matched_p_holm"] == wanted["p_holm"]


def test_row_order_of_the_inputs_changes_nothing(report_inputs: ReportInputs) -> None:
    shuffled = comparison_table(
        *(
            frame.sample(frac=1, random_state=2)
            for frame in (report_inputs.arms, report_inputs.comparisons, report_inputs.removal_summary)
        )
    )
    pd.testing.assert_frame_equal(shuffled, table_of(report_inputs))


def test_a_control_removes_as_many_images_as_its_k(report_inputs: ReportInputs) -> None:
    table = table_of(report_inputs)
    spread = table.groupby("k")["removed_images"].agg(lambda counts: counts.max() - counts.min())
    assert (spread == 0).all()
    assert table.loc[table["k"] == 0, "removed_images"].tolist() == [0]
    assert table.loc[table["k"] == 300, "removed_images"].iloc[0] == 2291


def test_suspects_stand_behind_the_lists_with_their_own_controls_and_counts(
    small_inputs: Callable[..., ReportInputs],
) -> None:
    inputs = small_inputs(percents=(100,))
    table = table_of(inputs)
    assert table["arm"].tolist()[-3:] == ["suspects", "suspects_random", "suspects_class_matched"]
    assert [(removal, k) for removal, k, _ in blocks(table)] == [
        ("baseline", 0), ("influence", 100), ("influence", 300), ("suspects", 100)
    ]  # fmt: skip
    line = table.set_index(["arm", "k"]).loc[("suspects", 100)]
    assert line["removed_images"] == len(inputs.suspects[100])
    assert line["against_random"] == pytest.approx(0.5)
    assert arm_title("suspects_random", 10) == "random, 10 % suspects"


def test_an_unread_second_reader_has_no_columns(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = small_inputs(readers=("reader1",))
    assert readers_present(inputs.arms) == ["reader1"]
    assert not [name for name in table_of(inputs).columns if name.startswith("reader2")]


def test_a_missing_value_stays_missing_and_says_why(small_inputs: Callable[..., ReportInputs]) -> None:
    inputs = small_inputs()
    arms = inputs.arms.copy()
    chosen = (
        (arms["arm"] == "random")
        & (arms["k"] == 100)
        & (arms["metric"] == "kappa")
        & (arms["group"] == "all")
    )
    arms.loc[chosen & (arms["split"] == "test"), ["value", "low", "high"]] = np.nan
    arms.loc[chosen & (arms["split"] == "test"), "note"] = "only one class predicted"
    table = comparison_table(arms, inputs.comparisons, inputs.removal_summary)
    line = table[(table["arm"] == "random") & (table["k"] == 100)].iloc[0]
    assert np.isnan(line["reader1_kappa"])
    assert "reader1_kappa: only one class predicted" in line["note"]


def test_a_single_seed_stands_for_its_mean_but_several_never_do(report_inputs: ReportInputs) -> None:
    seeds = report_inputs.arms[report_inputs.arms["seed"] >= 0]
    assert len(mean_over_seeds(seeds[seeds["seed"] == 1])) == (seeds["seed"] == 1).sum()
    with pytest.raises(ValueError, match="several seeds"):
        mean_over_seeds(seeds)


def test_an_ambiguous_table_is_refused(report_inputs: ReportInputs) -> None:
    doubled = pd.concat([report_inputs.arms, report_inputs.arms.tail(3000)])
    with pytest.raises(ValueError, match="one was expected"):
        comparison_table(doubled, report_inputs.comparisons, report_inputs.removal_summary)


def test_only_contrasts_that_were_made_are_shown(report_inputs: ReportInputs) -> None:
    comparisons = report_inputs.comparisons[report_inputs.comparisons["against"] != "random"]
    table = comparison_table(report_inputs.arms, comparisons, report_inputs.removal_summary)
    assert contrasts_present(table) == ["baseline", "class_matched"]
