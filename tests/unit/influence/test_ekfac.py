"""EK-FAC against the same formulas on explicit gradients, formed one backward pass at a time."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from grasp_ray.errors import ConfigError
from grasp_ray.influence.ekfac import EkfacFactors
from grasp_ray.influence.replay import CheckpointReplay, fit_checkpoint_ekfac
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.storage import Storage
from tests.unit.influence.conftest import make_checkpoint, make_model
from tests.unit.influence.test_replay import of_image, reference_gradients

DAMPING = 0.1


def settings_of(**changes):
    chosen = {"precondition": "ekfac", "unit": "singleton", "dtype": "float64", "device": "cpu"}
    chosen["ekfac_damping"] = DAMPING
    return InfluenceSettings(**chosen | changes)


@pytest.fixture(scope="module")
def model():
    return make_model("test_vit")


@pytest.fixture(scope="module")
def factors(model, train_bags):
    return fit_checkpoint_ekfac(
        copy.deepcopy(model), make_checkpoint(model), settings_of(), lambda: [train_bags]
    )


def class_gradients(model, bags):
    """Each image's probabilities [B, K], and its gradients under every class, by class."""
    double = copy.deepcopy(model).double()
    with torch.no_grad():
        probability = torch.softmax(double.singleton_logits(double.normalise(bags.photos_BHWC)), 1)
    classes = [
        reference_gradients(model, "singleton", bags, torch.full_like(bags.labels_V, k)) for k in range(3)
    ]
    return probability, classes


def test_curvature_is_the_expected_squared_gradient_in_the_eigenbasis(model, train_bags, factors):
    probability, classes = class_gradients(model, train_bags)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name in ("encoder.blocks.0.mlp.fc1.weight", "encoder.patch_embed.proj.weight", "head.0.bias"):
        expected = torch.zeros(shapes[name].numel(), dtype=torch.float64)
        for k, gradients in enumerate(classes):
            for row, gradient in enumerate(gradients[name]):
                if name in factors.input_basis:
                    matrix = gradient.view(shapes[name][0], -1)
                    rotated = factors.output_basis[name].double().T @ matrix
                    gradient = (rotated @ factors.input_basis[name].double()).flatten()
                expected += probability[row, k] * gradient**2 / len(probability)
        assert torch.allclose(
            factors.curvature[name].double(), expected, rtol=1e-4, atol=1e-9 * expected.max()
        )


def test_output_bases_diagonalise_the_output_gradients_covariance(model, train_bags, factors):
    """A bias gradient is Σ_t δ_t; with one position (the head) its covariance is that of δ."""
    probability, classes = class_gradients(model, train_bags)
    deltas = torch.cat([probability[:, k : k + 1].sqrt() * g["head.0.bias"] for k, g in enumerate(classes)])
    basis = factors.output_basis["head.0.weight"].double()
    rotated = basis.T @ deltas.T @ deltas @ basis
    off_diagonal = rotated - torch.diag(rotated.diagonal())
    assert off_diagonal.abs().max() < 1e-6 * rotated.diagonal().max()


def inverse_product(factors, first, second):
    """⟨first, second⟩_P from the definition, in the rotated basis."""
    total = 0.0
    for name, curvature in factors.curvature.items():
        weight = curvature.double() + DAMPING * curvature.double().mean()
        a, b = (rotate(factors, name, gradient[name]) for gradient in (first, second))
        if bool((weight > 0).all()):
            total += float((a * b / weight).sum())
    return total


def rotate(factors, name, gradient):
    if name not in factors.input_basis:
        return gradient
    out, into = factors.output_basis[name].double(), factors.input_basis[name].double()
    return (out.T @ gradient.view(len(out), len(into)) @ into).flatten()


@pytest.mark.parametrize("self_influence", [True, False])
def test_scores_equal_the_definition(model, factors, train_bags, query_bags, queries, self_influence):
    settings = settings_of(ekfac_self_influence=self_influence)
    replay = CheckpointReplay(
        copy.deepcopy(model), make_checkpoint(model), settings, queries, query_bags, factors
    )
    frame = replay.score(train_bags)
    train = reference_gradients(model, "singleton", train_bags)
    label = dict(zip(queries["visit_id"], queries["query_label"], strict=True))
    labels = torch.tensor([label[visit] for visit in query_bags.visit_ids])
    asked = reference_gradients(model, "singleton", query_bags, labels)
    for query in queries.itertuples():
        gradient = of_image(asked, query_bags.image_ids.index(query.image_id))
        expected = [inverse_product(factors, gradient, of_image(train, row)) for row in range(len(frame))]
        found = frame[f"dot:{query.query_id}"].to_numpy()
        assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()
    own = [inverse_product(factors, of_image(train, row), of_image(train, row)) for row in range(len(frame))]
    if self_influence:
        assert frame["self_dot"].to_numpy() == pytest.approx(own, rel=1e-6)
        diagonal = replay.gram(train_bags).query("image_id == other_image_id")["dot"]
        assert diagonal.to_numpy() == pytest.approx(own, rel=1e-6)
    else:
        assert frame["self_dot"].isna().all()
        with pytest.raises(ConfigError, match="ekfac_self_influence=true"):
            replay.gram(train_bags)


def test_with_endless_damping_only_the_scale_per_parameter_is_left(
    model, factors, train_bags, query_bags, queries
):
    head_only = settings_of(parameters=("head.2.weight",), ekfac_damping=1e9)
    chosen = dataclasses.replace(factors)
    damped = CheckpointReplay(
        copy.deepcopy(model), make_checkpoint(model), head_only, queries, query_bags, chosen
    )
    plain = CheckpointReplay(
        copy.deepcopy(model),
        make_checkpoint(model),
        settings_of(parameters=("head.2.weight",), precondition="sgd"),
        queries,
        query_bags,
    )
    ratio = damped.score(train_bags)["dot:Q00"] / plain.score(train_bags)["dot:Q00"]
    assert ratio.to_numpy() == pytest.approx(ratio[0], rel=1e-6)


def test_in_bag_curvature_covers_the_attention(model, train_bags):
    fitted = fit_checkpoint_ekfac(
        copy.deepcopy(model), make_checkpoint(model), settings_of(unit="in_bag"), lambda: [train_bags]
    )
    assert fitted.curvature["attention.value.weight"].max() > 0
    assert "attention.value.weight" in fitted.input_basis


def test_batches_of_any_size_give_the_same_curvature(model, train_bags, factors):
    halves = [
        train_bags.only([image for image in train_bags.image_ids if image[:3] == visit])
        for visit in train_bags.visit_ids
    ]
    fitted = fit_checkpoint_ekfac(copy.deepcopy(model), make_checkpoint(model), settings_of(), lambda: halves)
    for name in ("encoder.blocks.0.norm1.weight", "head.0.bias"):
        assert torch.allclose(fitted.curvature[name], factors.curvature[name], rtol=1e-5)


def test_factors_survive_storage(factors, tmp_path):
    storage = Storage.at(tmp_path)
    factors.save(storage, "ekfac.safetensors")
    loaded = EkfacFactors.load(storage, "ekfac.safetensors")
    for group in ("input_basis", "output_basis", "curvature"):
        before, after = getattr(factors, group), getattr(loaded, group)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_without_factors_ekfac_is_refused(model, queries, query_bags):
    with pytest.raises(ConfigError, match="needs factors"):
        CheckpointReplay(copy.deepcopy(model), make_checkpoint(model), settings_of(), queries, query_bags)
