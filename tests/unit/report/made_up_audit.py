"""A made-up audit with the shape and the size of a real one, to develop and test the page on."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from grasp_ray.report.inputs import ReportInputs

CLASS_NAMES = ("mild", "moderate", "severe")
KS = (100, 200, 300, 400, 500)
UNIQUE = {100: 794, 200: 1576, 300: 2292, 400: 3019, 500: 3734}
SUSPECTS = ("suspects", "suspects_random", "suspects_class_matched")
EFFECT = {100: 0.031, 200: 0.034, 300: 0.055, 400: 0.004, 500: -0.021}
SEEDS = (0, 1, 2)
TRAINING_IMAGES = 28_060
READER_LEVEL = {"reader1": {"auc": 0.847, "kappa": 0.53}, "reader2": {"auc": 0.858, "kappa": 0.56}}
GROUPS = {
    "all": 170,
    "skin_type=I": 31,
    "skin_type=II": 81,
    "skin_type=III": 36,
    "skin_type=IV": 14,
    "skin_type=V": 6,
    "skin_type=VI": 2,
    "skin_type=I-III": 148,
    "skin_type=IV-VI": 22,
    "sex=F": 109,
    "sex=M": 61,
    "week=0": 66,
    "week=2": 41,
    "week=4": 35,
    "week=8": 28,
    "device=phone A": 101,
    "device=phone B": 69,
}


def arm_keys(ks: tuple[int, ...], percents: tuple[int, ...] = ()) -> list[tuple[str, int]]:
    listed = [(arm, k) for k in ks for arm in ("influence", "random", "class_matched")]
    return [("baseline", 0), *listed, *((arm, percent) for percent in percents for arm in SUSPECTS)]


def effect_of(arm: str, k: int, scale: float) -> float:
    if arm in SUSPECTS:
        return {"suspects": 0.004, "suspects_random": -0.001, "suspects_class_matched": 0.0}[arm] * k * scale
    share = {"baseline": 0.0, "influence": 1.0, "random": -0.10, "class_matched": 0.12}[arm]
    return EFFECT.get(k, 0.0) * share * scale


def make_arms(
    ks: tuple[int, ...], scale: float, readers: tuple[str, ...], percents: tuple[int, ...] = ()
) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []

    def add(arm: str, k: int, split: str, reader: str, group: str, metric: str, visits: int) -> None:
        level = READER_LEVEL[reader][metric] - (0.012 if split == "validation" else 0)
        level += effect_of(arm, k, scale) * (1.5 if metric == "kappa" else 1.0)
        level += generator.normal(0, 0.03) if group != "all" else 0.0
        half = 0.52 / np.sqrt(visits) * (2.4 if metric == "kappa" else 1.0)
        note = "" if visits >= 10 else f"only {visits} visits"
        seeds = [*SEEDS, -1] if group == "all" else [-1]
        for seed in seeds:
            value = level + (generator.normal(0, 0.008) if seed >= 0 else 0.0)
            low, high = value - half, min(value + half, 0.995)
            if note:
                value, low, high = (np.nan,) * 3
            rows.append(
                {
                    "arm": arm,
                    "k": k,
                    "seed": seed,
                    "split": split,
                    "reader": reader,
                    "group": group,
                    "metric": metric,
                }
                | {"value": value, "low": low, "high": high, "visits": visits, "note": note}
            )

    for arm, k in arm_keys(ks, percents):
        for metric in ("auc", "kappa"):
            add(arm, k, "validation", "reader1", "all", metric, 64)
            for reader in readers:
                for group, visits in GROUPS.items():
                    add(arm, k, "test", reader, group, metric, visits)
    return pd.DataFrame(rows)


def make_comparisons(
    ks: tuple[int, ...], scale: float, readers: tuple[str, ...], percents: tuple[int, ...] = ()
) -> pd.DataFrame:
    rows = []
    removals = [("influence", "", k) for k in ks]
    removals += [("suspects", "suspects_", percent) for percent in percents]
    for arm, prefix, k in removals:
        for against in ("baseline", "random", "class_matched"):
            for reader in readers:
                for metric in ("auc", "kappa"):
                    other = 0.0 if against == "baseline" else effect_of(f"{prefix}{against}", k, scale)
                    difference = effect_of(arm, k, scale) - other
                    row = {"arm": arm, "k": k, "against": against, "split": "test", "reader": reader}
                    p_value = float(2 * norm.sf(abs(difference) / (0.036 / 1.96)))
                    row |= {"metric": metric, "difference": difference, "low": difference - 0.036}
                    row |= {"high": difference + 0.036, "p_value": p_value, "p_holm": min(1.0, 5 * p_value)}
                    row |= {"seeds": 3, "visits": 170, "note": ""}
                    rows.append(row)
    return pd.DataFrame(rows)


def make_confusion(
    ks: tuple[int, ...], readers: tuple[str, ...], percents: tuple[int, ...] = ()
) -> pd.DataFrame:
    counts = {
        "baseline": [[49, 15, 2], [14, 33, 11], [3, 13, 30]],
        "influence": [[55, 10, 1], [10, 41, 7], [1, 10, 35]],
    }
    rows = []
    for arm, k in arm_keys(ks, percents):
        matrix = counts.get(arm, counts["baseline"])
        for seed in SEEDS:
            for reader in readers:
                for true_class, line in enumerate(matrix):
                    for predicted_class, count in enumerate(line):
                        shift = (seed - 1) if true_class == predicted_class else 0
                        rows.append((arm, k, seed, reader, true_class, predicted_class, count + shift))
    columns = ["arm", "k", "seed", "reader", "label", "predicted", "visits"]
    return pd.DataFrame(rows, columns=columns).assign(split="test")


def make_influence(images: int, queries: pd.DataFrame, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    visit = np.arange(images) // 46
    frame = pd.DataFrame(
        {
            "image_id": [f"V{v:04d}-{i % 46:02d}" for i, v in enumerate(visit)],
            "visit_id": [f"V{v:04d}" for v in visit],
            "patient_id": [f"P{v // 3:03d}" for v in visit],
            "label": (visit * 7) % 3,
            "draws": generator.poisson(100, images),
            "self_influence": np.exp(generator.normal(-9, 1.6, images)),
            "self_influence_sgd": np.exp(generator.normal(-14, 1.6, images)),
            "mean_loss": np.exp(generator.normal(-1, 0.7, images)),
        }
    )
    shared = generator.standard_t(3, images)
    scores = {
        f"score:{query_id}": 2e-6 * (0.7 * shared + 0.7 * generator.standard_t(3, images)) + 4e-7
        for query_id in queries["query_id"]
    }
    return pd.concat([frame, pd.DataFrame(scores)], axis=1).assign(orientation="positive=helpful")


def make_queries(count: int) -> pd.DataFrame:
    wrong = [(0, 1), (1, 2), (2, 1), (1, 0), (2, 1), (1, 2), (0, 1), (2, 0), (1, 0)]
    ids = [f"V{900 + 7 * i:04d}" for i in range(count)]
    labels = [wrong[i % 9][0] for i in range(count)]
    return pd.DataFrame(
        {
            "query_id": ids,
            "visit_id": ids,
            "image_id": [f"{visit}-{(5 * i) % 46:02d}" for i, visit in enumerate(ids)],
            "label": labels,
            "predicted": [wrong[i % 9][1] for i in range(count)],
            "query_label": labels,
            "attention": np.linspace(0.04, 0.31, count),
        }
    )


def make_removals(influence: pd.DataFrame, k: int) -> pd.DataFrame:
    scores = influence.set_index("image_id").filter(like="score:")
    ranks = scores.rank(method="first").astype(int)
    listed = ranks <= k
    chosen = ranks[listed.any(axis=1)]
    queries = [
        ",".join(sorted(column.removeprefix("score:") for column in row.index[row <= k]))
        for _, row in chosen.iterrows()
    ]
    about = influence.set_index("image_id").loc[chosen.index, ["visit_id", "patient_id", "label"]]
    frame = about.assign(
        times_listed=listed.loc[chosen.index].sum(axis=1),
        query_ids=queries,
        best_rank=chosen.min(axis=1),
        worst_score=scores.loc[chosen.index].min(axis=1),
        kept_because="",
    ).reset_index()
    frame.loc[0, "kept_because"] = "last image of its visit"
    return frame


def make_summary(removals: dict[int, pd.DataFrame], images: int) -> pd.DataFrame:
    rows = []
    for k, frame in removals.items():
        unique = UNIQUE.get(k, len(frame)) if images == TRAINING_IMAGES else len(frame)
        listed = 9 * k
        rows.append(
            {"arm": "influence", "k": k, "listed": listed, "unique": unique, "fraction": unique / images}
            | {"overlap": listed - unique, "visits_touched": frame["visit_id"].nunique(), "visits_emptied": 1}
            | {"removed": unique - 1, "kept": 1, "queries": 9, "short_lists": 0}
        )
    return pd.DataFrame(rows)


def make_suspects(influence: pd.DataFrame, percent: int) -> pd.DataFrame:
    """The first visits leave whole; visit 3 is the most suspect."""
    visits = sorted(set(influence["visit_id"]))
    chosen = visits[3:] + visits[:3]
    rank = {visit: place for place, visit in enumerate(chosen[: max(1, len(visits) * percent // 100)], 1)}
    rows = influence[influence["visit_id"].isin(rank)]
    rows = rows[["image_id", "visit_id", "patient_id", "label"]].reset_index(drop=True)
    return rows.assign(
        times_listed=0, query_ids="", best_rank=rows["visit_id"].map(rank), worst_score=-0.25,
        kept_because="", rule="confident_learning",
    )  # fmt: skip


def summarise_suspects(suspects: dict[int, pd.DataFrame], images: int) -> pd.DataFrame:
    rows = [
        {"arm": "suspects", "k": percent, "listed": 0, "unique": len(frame), "fraction": len(frame) / images,
         "overlap": 0, "visits_touched": frame["visit_id"].nunique(), "visits_emptied": 1,
         "removed": len(frame), "kept": 0, "queries": 0, "short_lists": 0}
        for percent, frame in suspects.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_disagreement() -> pd.DataFrame:
    x = np.linspace(0, 1, 41)
    curves = {
        "random": x,
        "ideal": np.minimum(x / 0.16, 1),
        "self_influence_max": 1 - (1 - x) ** 4.2,
        "loss": 1 - (1 - x) ** 3.1,
        "margin": 1 - (1 - x) ** 2.4,
        "aum": 1 - (1 - x) ** 1.5,
        "forgetting": 1 - (1 - x) ** 1.3,
        "el1n": 1 - (1 - x) ** 1.9,
    }
    parts = []
    for flagger, y in curves.items():
        half = 0.0 if flagger == "ideal" else 0.5 * np.sqrt(y * (1 - y) / 16) * 2
        parts.append(
            pd.DataFrame(
                {
                    "flagger": flagger,
                    "inspected_fraction": x,
                    "found_mean": y,
                    "found_low": np.clip(y - half, 0, 1),
                    "found_high": np.clip(y + half, 0, 1),
                    "draws": 1000,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def make_history(level: float, seed: int, epochs: int = 40) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    epoch = np.arange(1, epochs + 1)
    rise = 1 - np.exp(-epoch / 9)
    auc = 0.5 + (level - 0.5) * rise + generator.normal(0, 0.008, epochs)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": 1.1 * np.exp(-epoch / 16) + 0.15 + generator.normal(0, 0.012, epochs),
            "validation_loss": 0.55 + 0.55 * np.exp(-epoch / 9) + 0.004 * epoch,
            "validation_auc": auc,
            "validation_kappa": auc - 0.33,
            "seconds": 61.0,
            "learning_rate": 1e-6,
        }
    )


def skin_photo(seed: int, side: int = 224) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A limb-like tone with reddish plaques: enough to judge a gallery's looks."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    tone = np.array([[231, 190, 165], [206, 158, 128], [150, 102, 74], [98, 64, 46]])[seed % 4]
    edge = 1 / (1 + np.exp(-(np.abs(x - 0.5 - 0.12 * np.sin(2.2 * y + seed)) - 0.33) * 40))
    shade = (1.08 - 0.9 * (x - 0.5) ** 2)[..., None]
    photo = tone * shade
    for _ in range(generator.integers(2, 9)):
        cx, cy = generator.uniform(0.25, 0.75, 2)
        rx, ry = generator.uniform(0.03, 0.13, 2)
        wobble = 0.25 * np.sin(5 * np.arctan2(y - cy, x - cx) + seed)
        inside = expit((1 + wobble - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2) * 6)
        photo = photo + inside[..., None] * (np.array([28, -38, -34]) * (0.6 + tone.mean() / 400))
    background = np.array([[214, 219, 222], [92, 104, 128], [226, 214, 190]])[seed % 3]
    photo = photo * (1 - edge[..., None]) + background * edge[..., None]
    return np.clip(photo + generator.normal(0, 4, photo.shape), 0, 255).astype(np.uint8)


def make_inputs(
    *,
    ks: tuple[int, ...] = KS,
    scale: float = 1.0,
    images: int = TRAINING_IMAGES,
    readers: tuple[str, ...] = ("reader1", "reader2"),
    chosen_k: int = 300,
    chosen_arm: str = "influence",
    percents: tuple[int, ...] = (),
    pictures: int = 24,
) -> ReportInputs:
    queries = make_queries(9)
    influence = make_influence(images, queries, seed=1)
    removals = {k: make_removals(influence, k) for k in ks}
    suspects = {percent: make_suspects(influence, percent) for percent in percents}
    summary = pd.concat([make_summary(removals, images), summarise_suspects(suspects, images)])
    arms = make_arms(ks, scale, readers, percents)
    histories = {
        (arm, k, seed): make_history(0.83 + effect_of(arm, k, scale), 100 * k + seed)
        for arm, k in arm_keys(ks, percents)
        for seed in SEEDS
    }
    visits = influence["visit_id"]
    generator = np.random.default_rng(5)
    visit_error = {visit: bool(generator.random() < 0.1) for visit in sorted(set(visits))}
    truth = pd.DataFrame(
        {
            "image_id": influence["image_id"],
            "visit_id": visits,
            "label_error": visits.map(visit_error),
            "artefact": generator.choice(
                ["", "lamp", "ruler", "device"], len(influence), p=[0.85, 0.05, 0.05, 0.05]
            ),
        }
    )
    truth["true_class"] = (influence["label"] + truth["label_error"]) % 3
    shown = suspects[chosen_k] if chosen_arm == "suspects" else removals[chosen_k or ks[0]]
    best = (
        shown[shown["kept_because"] == ""].sort_values(["best_rank", "image_id"])["image_id"].head(pictures)
    )
    return ReportInputs(
        arms=arms,
        comparisons=make_comparisons(ks, scale, readers, percents),
        removal_summary=summary.reset_index(drop=True),
        removals=removals,
        suspects=suspects,
        class_names=CLASS_NAMES,
        chosen_k=chosen_k,
        chosen_arm=chosen_arm,
        chosen_reason=f"k = {chosen_k} has the highest validation AUC, 0.890, of k = 0, "
        f"{', '.join(map(str, ks))} (mean over 3 seeds; ties go to the smaller k).",
        run=make_run(),
        queries=queries,
        influence=influence,
        disagreement=make_disagreement(),
        flagger_quality=make_flagger_quality(),
        confusion=make_confusion(ks, readers, percents),
        histories=histories,
        thumbnails={str(image_id): skin_photo(i) for i, image_id in enumerate([*best, *queries["image_id"]])},
        truth=truth,
    )


def make_flagger_quality() -> pd.DataFrame:
    rows = []
    for target in ("label error", "capture artefact"):
        for i, flagger in enumerate(("self_influence_max", "loss", "margin", "aum")):
            for metric, level in (("auc", 0.93), ("average_precision", 0.62), ("recall", 0.91)):
                value = level - 0.11 * i - (0.2 if target == "capture artefact" else 0)
                rows.append((target, flagger, metric, value, value - 0.05, value + 0.05, 610, 61, 0, ""))
    columns = [
        "target",
        "flagger",
        "metric",
        "value",
        "low",
        "high",
        "examples",
        "positives",
        "left_out",
        "note",
    ]
    return pd.DataFrame(rows, columns=columns)


def make_run() -> dict[str, Any]:
    return {
        "name": "paper",
        "started": "2025-11-21T03:42:39+00:00",
        "updated": "2025-11-21T09:12:01+00:00",
        "git_commit": "1e320be0c0ffee",
        "orientation": "positive=helpful",
        "versions": {
            "grasp_ray": "0.1.0",
            "python": "3.11.9",
            "torch": "2.14.1",
            "ray": "2.60.0",
            "timm": "1.0.31",
        },
        "results": {"manifest_sha256": "9b74c9897bac770ffc029102a200c5de" * 2, "training_images": 28060},
        "config": {
            "run": {"name": "paper", "root": "runs"},
            "model": {"encoder": "convnext_tiny", "weights": "imagenet", "class_names": list(CLASS_NAMES)},
            "train": {"epochs": 100, "learning_rate": 1e-6, "batch_size": 4, "seed": 0},
            "influence": {
                "precondition": "adam",
                "exposure": "count",
                "unit": "singleton",
                "query_label": "true",
            },
            "prune": {
                "ks": list(KS),
                "harmful": "auto",
                "controls": ["random", "class_matched"],
                "repeats": 3,
            },
            "evaluate": {"confidence": 0.95, "bootstrap_draws": 1000, "inspected_share": 0.3},
        },
    }
