"""The replayed scores equal one backward pass per image, for every encoder, unit and preconditioner."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from grasp_ray.errors import NumericalError
from grasp_ray.influence.replay import CheckpointReplay
from grasp_ray.influence.settings import InfluenceSettings
from tests.reference import one_backward
from tests.unit.influence.conftest import ENCODERS, make_checkpoint, make_model

KINDS = ["adam", "paper", "sgd", "less"]


def reference_gradients(model, unit, bags, labels=None):
    double = copy.deepcopy(model).double().requires_grad_(True)
    images = double.normalise(bags.photos_BHWC)
    oracle = one_backward.singleton_gradients if unit == "singleton" else one_backward.in_bag_gradients
    return oracle(double, images, bags.presence_VN, bags.labels_V if labels is None else labels)


def of_image(gradients, row):
    return {name: values[row] for name, values in gradients.items()}


@pytest.fixture(scope="module")
def oracle(train_bags, query_bags, queries):
    """Gradients of all images and queries for an encoder and unit, computed once."""
    found = {}

    def gradients(encoder, unit, **settings):
        key = (encoder, unit, str(settings))
        if key not in found:
            model = make_model(encoder, **settings)
            train = reference_gradients(model, unit, train_bags)
            label = dict(zip(queries["visit_id"], queries["query_label"], strict=True))
            labels = torch.tensor([label[visit] for visit in query_bags.visit_ids])
            asked = reference_gradients(model, unit, query_bags, labels)
            rows = {
                q: query_bags.image_ids.index(i)
                for q, i in zip(queries["query_id"], queries["image_id"], strict=True)
            }
            found[key] = model, train, {q: of_image(asked, row) for q, row in rows.items()}
        return found[key]

    return gradients


def assert_matches(frame, train, asked, checkpoint, kind, tolerance, **options):
    for row in range(len(frame)):
        own = of_image(train, row)
        square = one_backward.product(kind, own, own, checkpoint, **options)
        plain = one_backward.product("sgd", own, own, checkpoint)
        assert frame["self_dot_sgd"][row] == pytest.approx(plain, rel=tolerance)
        scale = (
            1.0
            if options.get("cosine")
            else sum(
                abs(one_backward.product(kind, {n: own[n]}, {n: own[n]}, checkpoint, **options)) for n in own
            )
        )
        assert frame["self_dot"][row] == pytest.approx(square, abs=tolerance * scale)
    for query_id, gradient in asked.items():
        expected = np.array(
            [
                one_backward.product(kind, gradient, of_image(train, row), checkpoint, **options)
                for row in range(len(frame))
            ]
        )
        found = frame[f"dot:{query_id}"].to_numpy()
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("unit", ["singleton", "in_bag"])
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-5)])
def test_every_product_equals_one_backward_per_image(
    oracle, train_bags, query_bags, queries, encoder, unit, dtype, tolerance
):
    model, train, asked = oracle(encoder, unit)
    checkpoint = make_checkpoint(model)
    for kind in KINDS:
        settings = InfluenceSettings(precondition=kind, unit=unit, dtype=dtype, device="cpu")
        replay = CheckpointReplay(copy.deepcopy(model), checkpoint, settings, queries, query_bags)
        frame = replay.score(train_bags)
        assert list(frame["image_id"]) == train_bags.image_ids
        assert_matches(frame, train, asked, checkpoint, kind, tolerance)


@pytest.mark.parametrize("settings", [{"absent_images": "post_softmax"}, {"attention": "gated"}])
def test_in_bag_covers_every_kind_of_attention(oracle, train_bags, query_bags, queries, settings):
    model, train, asked = oracle("test_vit", "in_bag", **settings)
    checkpoint = make_checkpoint(model)
    replay = replay_of(model, queries, query_bags, unit="in_bag", dtype="float64")
    assert_matches(replay.score(train_bags), train, asked, checkpoint, "adam", 1e-9)


def test_less_with_cosine_divides_by_both_lengths(oracle, train_bags, query_bags, queries):
    model, train, asked = oracle("test_vit", "singleton")
    replay = replay_of(model, queries, query_bags, precondition="less", less_cosine=True, dtype="float64")
    frame = replay.score(train_bags)
    assert_matches(frame, train, asked, make_checkpoint(model), "less", 1e-9, cosine=True)


def test_moments_are_used_as_stored_without_bias_correction(oracle, train_bags, query_bags, queries):
    model, train, asked = oracle("test_vit", "singleton")
    replay = replay_of(model, queries, query_bags, bias_correction=False, dtype="float64")
    frame = replay.score(train_bags)
    assert_matches(frame, train, asked, make_checkpoint(model), "adam", 1e-9, bias_correction=False)


def replay_of(model, queries, query_bags, **settings):
    chosen = InfluenceSettings(**{"device": "cpu", "unit": "singleton"} | settings)
    return CheckpointReplay(copy.deepcopy(model), make_checkpoint(model), chosen, queries, query_bags)


@pytest.fixture(scope="module")
def vit():
    return make_model("test_vit")


def assert_same_scores(found, expected, tolerance=1e-6):
    found, expected = found.set_index("image_id").sort_index(), expected.set_index("image_id").sort_index()
    assert list(found.index) == list(expected.index)
    assert set(found.columns) == set(expected.columns)
    for column in expected.columns:
        scale = np.abs(expected[column]).max()
        assert np.abs(found[column] - expected[column]).max() <= tolerance * scale, column


@pytest.mark.parametrize("images_per_batch", [1, 2, 3, 100])
def test_batch_size_changes_nothing(vit, train_bags, query_bags, queries, images_per_batch):
    whole = replay_of(vit, queries, query_bags).score(train_bags)
    pieces = replay_of(vit, queries, query_bags, images_per_batch=images_per_batch).score(train_bags)
    assert_same_scores(pieces, whole)


@pytest.mark.parametrize("unit", ["singleton", "in_bag"])
def test_order_of_visits_and_images_changes_nothing(vit, train_bags, query_bags, queries, unit):
    replay = replay_of(vit, queries, query_bags, unit=unit)
    assert_same_scores(replay.score(reversed_bags(train_bags)), replay.score(train_bags))


def reversed_bags(bags):
    return type(bags)(
        bags.photos_BHWC.flip(0),
        bags.presence_VN.flip(0, 1),
        bags.labels_V.flip(0),
        bags.visit_ids[::-1],
        bags.image_ids[::-1],
    )


@pytest.mark.parametrize("unit", ["singleton", "in_bag"])
def test_empty_slots_change_nothing(vit, train_bags, query_bags, queries, unit):
    padded = dataclasses.replace(
        train_bags, presence_VN=torch.nn.functional.pad(train_bags.presence_VN, (2, 3), value=False)
    )
    replay = replay_of(vit, queries, query_bags, unit=unit)
    assert_same_scores(replay.score(padded), replay.score(train_bags))


def test_other_images_of_the_bag_matter_in_bag_only(vit, train_bags, query_bags, queries):
    fewer = train_bags.only([image for image in train_bags.image_ids if image != "T02/01"])
    for unit, same in [("singleton", True), ("in_bag", False)]:
        replay = replay_of(vit, queries, query_bags, unit=unit)
        alone, before = replay.score(fewer), replay.score(train_bags)
        before = before[before["image_id"] != "T02/01"].reset_index(drop=True)
        assert np.allclose(alone["self_dot"], before["self_dot"], rtol=1e-5) is same


@pytest.mark.parametrize("unit", ["singleton", "in_bag"])
def test_queries_one_at_a_time_or_together_change_nothing(vit, train_bags, query_bags, queries, unit):
    together = replay_of(vit, queries, query_bags, unit=unit).score(train_bags)
    for query_id in queries["query_id"]:
        one = replay_of(vit, queries[queries["query_id"] == query_id], query_bags, unit=unit).score(
            train_bags
        )
        assert_same_scores(one, together[list(one.columns)])


def test_queries_need_only_their_own_image_as_singletons(vit, train_bags, query_bags, queries):
    alone = query_bags.only(set(queries["image_id"]))
    expected = replay_of(vit, queries, query_bags).score(train_bags)
    assert_same_scores(replay_of(vit, queries, alone).score(train_bags), expected)


def test_self_influence_needs_no_query(vit, train_bags, query_bags, queries):
    expected = replay_of(vit, queries, query_bags).score(train_bags)
    found = replay_of(vit, queries.iloc[:0], None).score(train_bags)
    assert_same_scores(found, expected[["image_id", "epoch", "loss", "self_dot", "self_dot_sgd"]])


@pytest.mark.parametrize("unit", ["singleton", "in_bag"])
@pytest.mark.parametrize("kind", ["adam", "sgd", "less"])
def test_the_gram_matrix_holds_the_self_products_of_a_visit(vit, train_bags, query_bags, queries, unit, kind):
    replay = replay_of(vit, queries, query_bags, unit=unit, precondition=kind, dtype="float64")
    scores = replay.score(train_bags).set_index("image_id")
    gram = replay.gram(train_bags)
    own = gram[gram["image_id"] == gram["other_image_id"]].set_index("image_id")["dot"]
    assert own.to_dict() == pytest.approx(scores["self_dot"].to_dict(), rel=1e-9)
    assert len(gram) == sum(int(n) ** 2 for n in train_bags.presence_VN.sum(1))


def test_the_gram_matrix_equals_one_backward_per_image(oracle, train_bags, query_bags, queries):
    model, train, _ = oracle("test_vit", "singleton")
    gram = replay_of(model, queries, query_bags, dtype="float64").gram(train_bags)
    position = {image_id: row for row, image_id in enumerate(train_bags.image_ids)}
    for row in gram.itertuples():
        pair = of_image(train, position[row.image_id]), of_image(train, position[row.other_image_id])
        expected = one_backward.product("adam", *pair, make_checkpoint(model))
        assert row.dot == pytest.approx(expected, rel=1e-9)


def test_the_query_label_is_the_one_in_the_loss(vit, train_bags, query_bags, queries):
    other = queries.assign(query_label=(queries["query_label"] + 1) % 3)
    first = replay_of(vit, queries, query_bags).score(train_bags)
    second = replay_of(vit, other, query_bags).score(train_bags)
    assert not np.allclose(first["dot:Q00"], second["dot:Q00"], rtol=0.1)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_tiny_step_on_an_image_lowers_a_query_loss_by_rate_times_product(
    vit, train_bags, query_bags, queries, kind
):
    """w ← w − η P g changes the query's loss by −η ⟨g′, g⟩_P: positive scores are helpful."""
    frame = replay_of(vit, queries, query_bags, precondition=kind, dtype="float64").score(train_bags)
    gradients = reference_gradients(vit, "singleton", train_bags)
    checkpoint = make_checkpoint(vit)
    rate = 1e-7
    for row in range(len(frame)):
        stepped = copy.deepcopy(vit).double()
        with torch.no_grad():
            for name, parameter in stepped.named_parameters():
                step = gradients[name][row].view_as(parameter)
                if kind == "adam":
                    v = checkpoint.exp_avg_sq[name].double() / (1 - 0.999**checkpoint.step)
                    step = step / (v.sqrt() + checkpoint.eps)
                parameter -= rate * step
        for query in queries.itertuples():
            change = query_loss(stepped, query, query_bags) - query_loss(vit, query, query_bags)
            assert change == pytest.approx(-rate * frame[f"dot:{query.query_id}"][row], rel=1e-3)


def query_loss(model, query, query_bags):
    model = copy.deepcopy(model).double()
    photo = query_bags.photos_BHWC[query_bags.image_ids.index(query.image_id)].unsqueeze(0)
    with torch.no_grad():
        logits = model.singleton_logits(model.normalise(photo))
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor([query.query_label])))


def test_loss_is_the_bag_of_ones_loss_or_the_visits(vit, train_bags, query_bags, queries):
    double = copy.deepcopy(vit).double()
    images = double.normalise(train_bags.photos_BHWC)
    with torch.no_grad():
        visit_of = train_bags.presence_VN.nonzero()[:, 0]
        alone = torch.nn.functional.cross_entropy(
            double.singleton_logits(images), train_bags.labels_V[visit_of], reduction="none"
        )
        bags = torch.nn.functional.cross_entropy(
            double(images, train_bags.presence_VN).logits_VK, train_bags.labels_V, reduction="none"
        )
    for unit, expected in [("singleton", alone), ("in_bag", bags[visit_of])]:
        frame = replay_of(vit, queries, query_bags, unit=unit, dtype="float64").score(train_bags)
        assert frame["loss"].to_numpy() == pytest.approx(expected.numpy(), rel=1e-12)


def test_renaming_a_weight_changes_paper_but_not_adam(train_bags, query_bags, queries):
    """Negating a unit's incoming and outgoing weights renames it: same function, g and m change sign.

    `paper` multiplies three such signs, so its scores change although the model did not. tanh is odd, so the
    attention of the `in_bag` unit can be renamed exactly.
    """
    model = make_model("test_vit")
    checkpoint = make_checkpoint(model)
    renamed = dict(checkpoint.weights), dict(checkpoint.exp_avg)
    for group in renamed:
        for name in ("attention.value.weight", "attention.value.bias", "attention.weight.weight"):
            group[name] = -group[name]
    other = dataclasses.replace(checkpoint, weights=renamed[0], exp_avg=renamed[1])

    def scores(kind, chosen):
        settings = InfluenceSettings(
            precondition=kind, unit="in_bag", parameters=("attention.*",), dtype="float64", device="cpu"
        )
        return CheckpointReplay(copy.deepcopy(model), chosen, settings, queries, query_bags).score(train_bags)

    assert_same_scores(scores("adam", other), scores("adam", checkpoint), 1e-9)
    paper, flipped = scores("paper", checkpoint), scores("paper", other)
    assert flipped["dot:Q00"].to_numpy() == pytest.approx(-paper["dot:Q00"].to_numpy(), rel=1e-9)
    assert (paper["self_dot"] < 0).any() or (flipped["self_dot"] < 0).any()


def test_weights_that_are_not_finite_are_reported_by_image(vit, train_bags, query_bags, queries):
    checkpoint = make_checkpoint(vit)
    checkpoint.weights["encoder.patch_embed.proj.weight"][0, 0, 0, 0] = float("nan")
    settings = InfluenceSettings(device="cpu")
    with pytest.raises(NumericalError, match=r"6 of 6 .* epoch 1 \(first: image T00/00\)"):
        CheckpointReplay(copy.deepcopy(vit), checkpoint, settings, queries.iloc[:0], None).score(train_bags)
    with pytest.raises(NumericalError, match="first: image Q00/02"):
        CheckpointReplay(copy.deepcopy(vit), checkpoint, settings, queries, query_bags)


def test_parameters_that_are_left_out_count_for_nothing(oracle, train_bags, query_bags, queries):
    model, train, asked = oracle("test_resnet", "singleton")
    for choice, kept in [("head", "head."), (("encoder.layer4.*",), "encoder.layer4.")]:
        only = {name: values for name, values in train.items() if name.startswith(kept)}
        questions = {q: {n: g for n, g in values.items() if n in only} for q, values in asked.items()}
        frame = replay_of(model, queries, query_bags, parameters=choice, dtype="float64").score(train_bags)
        assert_matches(frame, only, questions, make_checkpoint(model), "adam", 1e-9)
