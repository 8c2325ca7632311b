"""Tiles formed and contracted at once equal whole gradients, formed in float64 and contracted afterwards."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grasp_ray.influence.kernels import compiled
from grasp_ray.influence.kernels.contraction import SOURCE, Sums, TiledQueries, can_contract
from grasp_ray.influence.layers.workspace import Workspace

pytestmark = pytest.mark.skipif(
    compiled.library(SOURCE) is None, reason="needs a C compiler and AVX2 (logged at INFO)"
)


def fresh_sums(examples, queries):
    zeros_B = torch.zeros(examples, dtype=torch.float64)
    return Sums(zeros_B.new_zeros(examples, queries), zeros_B, zeros_B.clone())


def expected(gradient_BRC, queries_MRC, weights_RC, sizes_BRC):
    """The three sums in float64, each with what rounding errors are relative to: the terms' sizes."""
    gradient_BRC = gradient_BRC.double()
    dots_BM = torch.einsum("brc,mrc->bm", gradient_BRC, queries_MRC.double())
    weights_RC = torch.ones(gradient_BRC.shape[1:]) if weights_RC is None else weights_RC
    own_B = (gradient_BRC.square() * weights_RC.double()).sum((1, 2))
    norm_B, size_B = gradient_BRC.square().sum((1, 2)), sizes_BRC.double().square().sum((1, 2))
    lengths_BM = torch.outer(size_B.sqrt(), queries_MRC.double().square().sum((1, 2)).sqrt())
    return (dots_BM, lengths_BM), (own_B, size_B), (norm_B, size_B)


def assert_equal(sums, wanted):
    for found, (right, scale) in zip((sums.dots_BM, sums.own_B, sums.squared_norm_B), wanted, strict=True):
        assert torch.all((found - right).abs() <= 1e-6 * scale)


def assert_exact(examples, positions, rows, columns, queries, *, weighted=True, strided=False, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def factor(entries):
        if strided:  # the channels of an image lie apart, and only some of them are used
            return torch.randn(examples, entries + 2, positions, generator=generator)[:, 1:-1].transpose(1, 2)
        return torch.randn(examples, positions, entries, generator=generator)

    down_BTR, across_BTC = factor(rows), factor(columns)
    queries_MRC = torch.randn(queries, rows, columns, generator=generator)
    weights_RC = torch.rand(rows, columns, generator=generator) if weighted else None
    gradient_BRC = torch.einsum("btr,btc->brc", down_BTR.double(), across_BTC.double())
    sizes_BRC = torch.einsum("btr,btc->brc", down_BTR.abs(), across_BTC.abs())
    wanted = expected(gradient_BRC, queries_MRC, weights_RC, sizes_BRC)
    tiles = TiledQueries(queries_MRC, weights_RC)
    sums = fresh_sums(examples, queries)
    tiles.contract(down_BTR, across_BTC, sums, Workspace())
    assert_equal(sums, wanted)
    formed = fresh_sums(examples, queries)
    tiles.contract_formed(gradient_BRC.float(), formed, Workspace())
    assert_equal(formed, wanted)


@settings(max_examples=80)
@given(
    examples=st.integers(1, 19),
    positions=st.integers(1, 40),
    rows=st.integers(1, 30),
    columns=st.integers(1, 120),
    queries=st.integers(0, 8),
    weighted=st.booleans(),
    strided=st.booleans(),
)
def test_any_shape(examples, positions, rows, columns, queries, weighted, strided):
    assert_exact(examples, positions, rows, columns, queries, weighted=weighted, strided=strided)


@pytest.mark.parametrize(
    ("examples", "positions", "rows", "columns", "queries"),
    [
        (40, 400, 16, 96, 2),  # groups of examples
        (64, 300, 100, 50, 1),  # strips of rows
        (3, 5000, 9, 17, 1),  # an example alone exceeds what is packed at once
        (70, 9, 24, 64, 70),  # many queries
    ],
)
def test_more_than_is_packed_at_once(examples, positions, rows, columns, queries):
    assert_exact(examples, positions, rows, columns, queries)


def test_what_is_added_up_is_kept():
    queries_MRC, gradient_BRC = torch.randn(2, 8, 16), torch.randn(3, 8, 16)
    tiles, sums = TiledQueries(queries_MRC, None), fresh_sums(3, 2)
    for _ in range(2):
        tiles.contract_formed(gradient_BRC, sums, Workspace())
    once = expected(gradient_BRC, queries_MRC, None, gradient_BRC)
    assert_equal(sums, [(2 * right, scale) for right, scale in once])


def test_a_gradient_that_is_not_finite_shows_and_stays_with_its_example():
    gradient_BRC = torch.ones(9, 8, 16)
    gradient_BRC[4, 3, 5] = torch.inf
    sums = fresh_sums(9, 2)
    TiledQueries(torch.ones(2, 8, 16), None).contract_formed(gradient_BRC, sums, Workspace())
    assert (~sums.squared_norm_B.isfinite()).nonzero().flatten().tolist() == [4]
    assert torch.equal(sums.dots_BM.isfinite().all(1), sums.squared_norm_B.isfinite())


def test_only_float32_on_a_cpu():
    assert can_contract(torch.zeros(1))
    assert not can_contract(torch.zeros(1, dtype=torch.float64))
    assert not can_contract(torch.zeros(1, device="meta"))


def test_the_variant_for_processors_without_avx512(monkeypatch):
    flags = torch.backends.cpu.get_cpu_capability()
    if not flags.startswith("AVX"):
        pytest.skip(f"this processor has {flags}")
    monkeypatch.setattr(compiled, "FLAGS", (*compiled.FLAGS, "-mno-avx512f"))
    compiled.library.cache_clear()
    try:
        assert_exact(13, 21, 11, 75, 7)
        assert_exact(13, 21, 11, 75, 7, strided=True, weighted=False)
        assert_exact(64, 300, 100, 50, 2)
    finally:
        compiled.library.cache_clear()
