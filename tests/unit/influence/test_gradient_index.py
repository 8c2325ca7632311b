"""The compressed gradient is the stated linear map of the gradient, and keeps products in expectation."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from grasp_ray.errors import ConfigError
from grasp_ray.influence.gradient_index import CheckpointSketch, MatrixMap, Projection
from grasp_ray.influence.index_settings import IndexSettings
from grasp_ray.influence.index_table import read_index_part, write_index_part
from grasp_ray.influence.replay import CheckpointReplay
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.storage import Storage
from tests.unit.influence.conftest import ENCODERS, make_checkpoint, make_model
from tests.unit.influence.test_replay import reference_gradients

SMALL = IndexSettings(error=0.1, width=5, dtype="float32")


def sketch_of(model, settings=SMALL, checkpoint=None, **influence):
    chosen = InfluenceSettings(**{"device": "cpu", "dtype": "float64"} | influence)
    return CheckpointSketch(copy.deepcopy(model), checkpoint or make_checkpoint(model), chosen, settings)


def compressed(sketch, bags):
    """φ(g) [B, k] and image ids."""
    rows = sketch.compress(bags)
    return np.stack(rows["sketch"].to_list()) * rows["length"].to_numpy()[:, None], list(rows["image_id"])


def by_explicit_matrices(projection, gradients):
    """C (A ⊗ B) S g with every matrix written out."""
    entries = []
    for name, mapping in projection.training.items():
        if isinstance(mapping, MatrixMap):
            matrix = torch.kron(mapping.left_Ow.T.contiguous(), mapping.right_Iw.T.contiguous())
        else:
            matrix = torch.diag(mapping.scale_P)
        entries.append(gradients[name] @ matrix.T)
    entries = torch.cat(entries, 1)
    hashing = torch.zeros(projection.dimension, entries.shape[1], dtype=entries.dtype)
    hashing[projection.bucket_E, torch.arange(entries.shape[1])] = projection._sign_E1[:, 0]
    return entries @ hashing.T


@pytest.mark.parametrize("unit", ["singleton", "in_bag"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_streamed_sketch_is_the_explicit_projection_of_the_gradient(train_bags, encoder, unit):
    model = make_model(encoder, absent_images="post_softmax")
    sketch = sketch_of(model, unit=unit)
    expected = by_explicit_matrices(sketch._projection, reference_gradients(model, unit, train_bags))
    found, image_ids = compressed(sketch, train_bags)
    assert image_ids == train_bags.image_ids
    assert np.abs(found - expected.numpy()).max() < 1e-6 * expected.abs().max()


def test_without_reduction_products_are_exact_but_for_hashing(train_bags, query_bags, queries):
    """A width above every layer's and as many numbers as entries leave the hashing's error alone."""
    model = make_model("test_vit")
    wide = IndexSettings(error=0.0015, width=4096, dtype="float32")
    sketch = sketch_of(model, wide, precondition="sgd")
    answers = sketch.queries(queries, query_bags).answer(sketch.compress(train_bags))
    exact = CheckpointReplay(
        copy.deepcopy(model),
        make_checkpoint(model),
        InfluenceSettings(device="cpu", dtype="float64", precondition="sgd"),
        queries,
        query_bags,
    ).score(train_bags)
    assert list(answers.columns) == list(exact.columns)
    for query in queries["query_id"]:
        error = (answers[f"dot:{query}"] - exact[f"dot:{query}"]).abs().max()
        assert error < 0.05 * exact[f"dot:{query}"].abs().max()


@pytest.fixture(scope="module")
def pair():
    generator = torch.Generator().manual_seed(3)
    shapes = {"matrix": (20, 30), "convolution": (12, 1, 3, 3), "position": (1, 9, 8), "bias": (7,)}
    parameters = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def draw(floor=0.0):
        return {
            name: floor + torch.rand(1, value.numel(), generator=generator, dtype=torch.float64)
            for name, value in parameters.items()
        }

    scales = {name: values[0] for name, values in draw(floor=0.1).items()}
    return parameters, scales, draw(), draw()


def products(pair, seeds, **settings):
    parameters, scales, query, train = pair
    found = []
    for seed in seeds:
        chosen = IndexSettings(**{"error": 0.2, "width": 4, "seed": seed} | settings)
        projection = Projection(parameters, scales, chosen, epoch=1)
        entries = torch.cat([projection.training[name](train[name]) for name in parameters], 1)
        found.append(float(projection.hashed(entries) @ projection.of_queries(query).T))
    return np.array(found)


def test_products_are_unbiased_over_seeds(pair):
    _, _, query, train = pair
    exact = sum(float(query[name] @ train[name].T) for name in query)
    found = products(pair, range(1500))
    standard_error = found.std(ddof=1) / len(found) ** 0.5
    assert abs(found.mean() - exact) < 4 * standard_error
    assert standard_error < 0.03 * exact


def test_hashing_errs_by_no_more_than_stated(pair):
    parameters, scales, query, train = pair
    settings = {"error": 0.1, "width": 1000}
    projection = Projection(parameters, scales, IndexSettings(**settings), epoch=1)
    lengths = [
        torch.cat([maps[name](values[name]) for name in parameters], 1).norm()
        for maps, values in ((projection.training, train), (projection.queries, query))
    ]
    exact = sum(float(query[name] @ train[name].T) for name in query)
    error = ((products(pair, range(300), **settings) - exact) ** 2).mean() ** 0.5
    assert 0.2 * 0.1 < error / float(lengths[0] * lengths[1]) < 0.1 * 1.15


def test_the_same_seed_gives_the_same_sketch_in_any_batches(train_bags):
    model = make_model("test_convnext")
    whole, ids = compressed(sketch_of(model, unit="singleton"), train_bags)
    pieces, _ = compressed(sketch_of(model, unit="singleton", images_per_batch=2), train_bags)
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-6 * np.abs(whole).max())
    part, part_ids = compressed(sketch_of(model, unit="singleton"), train_bags.only(ids[2:4]))
    np.testing.assert_allclose(part, whole[2:4], rtol=0, atol=1e-6 * np.abs(whole).max())
    assert part_ids == ids[2:4]
    other, _ = compressed(sketch_of(model, SMALL.model_copy(update={"seed": 1})), train_bags)
    assert np.abs(other - whole).max() > 0.1 * np.abs(whole).max()


def test_checkpoints_have_projections_of_their_own():
    model = make_model("test_vit")
    first, second = (
        sketch_of(model, checkpoint=make_checkpoint(model, epoch=epoch))._projection for epoch in (1, 2)
    )
    assert not torch.equal(first.bucket_E, second.bucket_E)


def test_balancing_brings_adam_queries_nearer_and_changes_no_expectation(train_bags, query_bags, queries):
    model = make_model("test_vit")
    checkpoint = make_checkpoint(model)
    generator = torch.Generator().manual_seed(0)
    moments = {}  # √v spans orders of magnitude between rows, as it does after training
    for name, value in checkpoint.exp_avg_sq.items():
        rows = 10 ** (-4 * torch.rand((len(value), *(1 for _ in value.shape[1:])), generator=generator))
        moments[name] = rows**2 * (0.5 + torch.rand(value.shape, generator=generator))
    checkpoint = dataclasses.replace(checkpoint, exp_avg_sq=moments, eps=1e-8, step=10_000)
    settings = InfluenceSettings(device="cpu", dtype="float64")
    exact = CheckpointReplay(copy.deepcopy(model), checkpoint, settings, queries, query_bags)
    exact = exact.score(train_bags)["dot:Q00"].to_numpy()

    def error(balance):
        found = []
        for seed in range(4):
            index = IndexSettings(error=0.05, width=8, seed=seed, balance=balance, dtype="float32")
            sketch = sketch_of(model, index, checkpoint=checkpoint)
            answer = sketch.queries(queries, query_bags).answer(sketch.compress(train_bags))
            found.append(answer["dot:Q00"].to_numpy() - exact)
        return np.sqrt(np.mean(np.square(found)))

    assert error(balance=True) < 0.8 * error(balance=False)


def test_float16_loses_little(train_bags):
    model = make_model("test_vit")
    full, _ = compressed(sketch_of(model), train_bags)
    half, _ = compressed(sketch_of(model, SMALL.model_copy(update={"dtype": "float16"})), train_bags)
    lengths = np.linalg.norm(full, axis=1)
    assert (np.linalg.norm(half - full, axis=1) < 1e-3 * lengths).all()


def test_what_an_index_cannot_do_is_refused():
    model = make_model("test_vit")
    with pytest.raises(ConfigError, match="cannot answer less"):
        sketch_of(model, precondition="less")
    bare = dataclasses.replace(make_checkpoint(model), exp_avg={}, exp_avg_sq={})
    with pytest.raises(ConfigError, match=r"index\.balance=false"):
        sketch_of(model, checkpoint=bare)
    sketch_of(model, SMALL.model_copy(update={"balance": False}), checkpoint=bare, precondition="sgd")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_part_survives_storage(tmp_path, dtype):
    sketches = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    rows = pd.DataFrame({"image_id": ["a", "b", "c"], "epoch": 1, "length": 2.0, "sketch": list(sketches)})
    storage = Storage.at(tmp_path)
    write_index_part(storage, "part.parquet", rows)
    loaded = read_index_part(storage, "part.parquet")
    np.testing.assert_array_equal(np.stack(loaded["sketch"].to_list()), sketches)
    pd.testing.assert_frame_equal(loaded.drop(columns="sketch"), rows.drop(columns="sketch"))
