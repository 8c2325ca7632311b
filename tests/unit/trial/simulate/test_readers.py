import numpy as np
import pytest

from grasp_ray.trial.pasi import pasi_class
from grasp_ray.trial.simulate.patients import make_patients, make_severity, make_visits
from grasp_ray.trial.simulate.readers import class_agreement, noise_scale, read_pasi, two_readers
from grasp_ray.trial.simulate.regions import Severity
from grasp_ray.trial.simulate.settings import SimulateSettings


@pytest.fixture(scope="module")
def severity() -> Severity:
    settings = SimulateSettings(size="paper", seed=11)
    return make_severity(make_visits(make_patients(settings), settings), settings.seed)


def test_a_reader_without_noise_reads_the_truth_to_a_tenth(severity: Severity) -> None:
    reading = read_pasi(severity, 0.0, np.random.default_rng(0))
    np.testing.assert_allclose(reading, np.round(severity.pasi_V(), 1), atol=1e-9)


@pytest.mark.parametrize("agreement", [0.70, 0.84, 0.95])
def test_readers_agree_on_as_many_doubly_read_visits_as_asked(severity: Severity, agreement: float) -> None:
    doubly_read = np.arange(len(severity.erythema_VR)) % 5 < 2
    both = two_readers(severity, doubly_read, agreement, seed=1)
    assert class_agreement(*both, doubly_read) == pytest.approx(agreement, abs=0.01)
    everyone = np.ones_like(doubly_read)
    assert class_agreement(*both, everyone) == pytest.approx(agreement, abs=0.04)


def test_more_agreement_takes_less_noise(severity: Severity) -> None:
    scales = [noise_scale(severity, agreement, seed=1) for agreement in (0.7, 0.84, 0.95)]
    assert scales == sorted(scales, reverse=True)


def test_readers_err_independently_and_right_on_average(severity: Severity) -> None:
    truth = severity.pasi_V()
    everyone = np.ones(len(truth), dtype=bool)
    reader1, reader2 = two_readers(severity, everyone, 0.84, seed=2)
    errors = np.log(reader1 + 0.1) - np.log(truth + 0.1), np.log(reader2 + 0.1) - np.log(truth + 0.1)
    assert abs(np.corrcoef(errors)[0, 1]) < 0.1
    for reader in (reader1, reader2):
        assert abs((reader - truth).mean()) < 0.5
        assert (pasi_class(reader) == pasi_class(truth)).mean() > 0.84
