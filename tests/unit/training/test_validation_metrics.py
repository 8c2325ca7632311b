import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from grasp_ray.training.validation_metrics import linear_kappa, micro_auc


@given(seed=st.integers(0, 10_000), visits=st.integers(1, 40), levels=st.integers(1, 6))
def test_micro_auc_is_scikit_learns_also_with_ties(seed, visits, levels):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, visits)
    probability = generator.integers(0, levels, (visits, 3)) / levels
    expected = roc_auc_score(np.eye(3)[labels].ravel(), probability.ravel())
    assert micro_auc(labels, probability) == pytest.approx(expected, abs=1e-12)


@given(seed=st.integers(0, 10_000), visits=st.integers(2, 40))
def test_linear_kappa_is_scikit_learns(seed, visits):
    generator = np.random.default_rng(seed)
    labels, predicted = generator.integers(0, 3, (2, visits))
    kappa = linear_kappa(labels, predicted, 3)
    if len({*labels, *predicted}) == 1:
        assert kappa is None
    else:
        expected = cohen_kappa_score(labels, predicted, labels=[0, 1, 2], weights="linear")
        assert kappa == pytest.approx(expected, abs=1e-12)
