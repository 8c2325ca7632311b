"""The evidence's tables as text, best first with intervals, and its figures."""

import itertools

import pandas as pd

from grasp_ray.report.evidence_figures import datamodel_figure, dose_figure, flagger_figure
from grasp_ray.report.evidence_text import (
    arms_text,
    controls_text,
    datamodel_text,
    plain_text,
    quality_text,
)


def quality() -> pd.DataFrame:
    rows = [
        ("label error", flagger, metric, value, value - 0.1, value + 0.05, 10)
        for flagger, value in (("loss", 0.7), ("confident_learning", 0.9))
        for metric in ("auc", "recall_30%")
    ]
    return pd.DataFrame(rows, columns=["target", "flagger", "metric", "value", "low", "high", "trials"])


def gains() -> pd.DataFrame:
    rows = []
    for arm, against, share, gain in (
        ("confident_learning", "baseline", 0.1, 0.02), ("opponents", "baseline", 0.1, -0.018),
        ("oracle_removal", "baseline", 0.1, 0.04), ("confident_learning", "class_matched", 0.1, 0.019),
        ("class_matched", "baseline", 0.1, 0.0), ("random", "baseline", 0.1, -0.01),
    ):  # fmt: skip
        rows.append(
            {
                "arm": arm, "share": share, "against": against, "auc_gain": gain, "low": gain - 0.01,
                "high": gain + 0.01, "low_patients": gain - 0.02, "high_patients": gain + 0.02,
                "p_value": 0.0124, "p_holm": 0.0248, "kappa_gain": gain, "kappa_low": gain - 0.1,
                "kappa_high": gain + 0.1, "won": 8, "trials": 10,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def test_flaggers_stand_best_first_with_their_intervals() -> None:
    lines = quality_text(quality(), "label error").splitlines()
    assert lines[0] == "| flagger | AUC | at 30 % |"
    assert lines[2] == "| **confident learning** | .90 [.80, .95] | .90 [.80, .95] |"
    assert lines[3].startswith("| loss at the end | .70 [.60, .75] |")


def test_disagreements_found_stand_with_both_intervals() -> None:
    metrics = {"recall_30%": 0.6, "draws_low": 0.4, "draws_high": 0.8}
    rows = [
        ("reader disagreement", "random", name, value, value - 0.1, value + 0.1, 5)
        for name, value in metrics.items()
    ]
    frame = pd.DataFrame(rows, columns=["target", "flagger", "metric", "value", "low", "high", "trials"])
    lines = quality_text(frame, "reader disagreement").splitlines()
    assert lines[0] == "| flagger | at 30 % | 95 % of draws |"
    assert lines[2] == "| random | .60 [.50, .70] | [.40, .80] |"


def test_an_arm_shows_its_gain_and_its_share_of_the_oracles() -> None:
    arms = pd.DataFrame(
        [
            ("baseline", 0.0, 0.9, 0.7),
            ("confident_learning", 0.1, 0.92, 0.74),
            ("oracle_removal", 0.1, 0.94, 0.8),
        ],
        columns=["arm", "share", "auc", "kappa"],
    )
    recovery = pd.DataFrame(
        [("confident_learning", 0.1, "oracle_removal", 0.5), ("oracle_removal", 0.1, "oracle_removal", 1.0)],
        columns=["arm", "share", "oracle", "recovered"],
    )
    lines = arms_text(arms, gains(), recovery, oracle="oracle_removal").splitlines()
    assert lines[3] == (
        "| confident learning | 10.0 % | .920 | .74 | +.020 [+.010, +.030] | [.000, +.040] | 8 of 10 "
        "| .012 | .025 | 50 % |"
    )
    assert lines[4].startswith("| baseline | 0.0 % | .900 |")


def test_only_controls_stand_in_the_controls_table() -> None:
    lines = controls_text(gains()).splitlines()
    assert len(lines) == 3
    assert "| class matched | 10.0 % | +.019 [+.009, +.029] | 8 of 10 |" in lines[2]


def datamodel() -> pd.DataFrame:
    names = itertools.product(("mil", "plain"), ("adam", "sgd"), ("none", "any", "count"))
    rows = [(model, "singleton", kind, exposure, 0.3, 0.2, 0.4) for model, kind, exposure in names]
    return pd.DataFrame(rows, columns=["model", "unit", "precondition", "exposure", "lds", "low", "high"])


def test_any_table_of_means_is_spelled_with_intervals() -> None:
    assert plain_text(datamodel()).splitlines()[2] == "| mil | singleton | adam | none | .300 [.200, .400] |"


def test_scores_of_one_kind_stand_in_one_line_with_a_column_per_exposure() -> None:
    lines = datamodel_text(datamodel()).splitlines()
    assert lines[0] == "| model | unit | preconditioner | exposure none | exposure any | exposure count |"
    assert lines[2] == "| mil | singleton | adam | .30 [.20, .40] | .30 [.20, .40] | .30 [.20, .40] |"
    assert len(lines) == 2 + 4


def test_figures_say_what_they_show() -> None:
    best = flagger_figure(quality(), "label error", "recall_30%", chance=0.3, title="Found")
    assert best.alt_text == "Found. Best: confident_learning with 0.900; chance is 0.30."
    oracles = gains().query("arm == 'oracle_removal'")
    axes = dose_figure(gains(), "confident_learning", oracles).figure.axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert drawn["confident learning"] == [0.02]
    assert drawn["opponents"] == [-0.018]
    both = pd.concat([datamodel(), datamodel().query("model == 'mil'").assign(unit="in_bag")])
    panels = datamodel_figure(both).figure.axes
    titles = ["MIL model, in_bag", "MIL model, singleton", "One photo per visit"]
    assert [panel.get_title(loc="left") for panel in panels] == titles
