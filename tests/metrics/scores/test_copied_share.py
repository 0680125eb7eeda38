"""The share of copies: of held-out samples, of some copies, of copies only."""

import pytest
import torch
from feature_sets import normals, samples

from gpgan.data import Dataset
from gpgan.metrics.features.raw import Raw
from gpgan.metrics.metric import Evaluation, Generated
from gpgan.metrics.quality import quality
from gpgan.metrics.reals import Compared, report_part
from gpgan.metrics.scores.copied_share import METRIC, copied_share
from gpgan.metrics.scores.neighbours import nearest_squares

TRAINING, HELD_OUT, FRESH = normals(3000, 4), normals(2000, 4, seed=1), normals(2000, 4, seed=2)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_copies_among_new_samples(share):
    count = round(share * 2000)
    fake = torch.cat([TRAINING[:count], FRESH[count:]])
    # One in a hundred of the others is nearer by chance.
    assert copied_share(fake, HELD_OUT, TRAINING) == pytest.approx(share + 0.01 * (1 - share), abs=0.01)


def test_the_border_is_the_quantile_of_held_out_samples():
    training = torch.zeros(1, 1)
    held_out = torch.arange(1.0, 102.0)[:, None]  # 1 .. 101, of which the 1 % quantile is 2
    fake = torch.tensor([[0.5], [-2.0], [2.1], [50.0]])
    assert copied_share(fake, held_out, training) == 0.5


def test_copies_have_no_distance_among_features_of_any_size():
    training = normals(200, 1280, mean=3) * torch.logspace(-2, 2, 200)[:, None]
    assert copied_share(training.flip(0), normals(200, 1280, seed=1, mean=3), training) == 1
    assert float(nearest_squares(training, training).max()) == 0


def test_far_samples_are_no_copies():
    assert copied_share(FRESH + 10, HELD_OUT, TRAINING) == 0


def test_the_metric_and_its_floor():
    made = Evaluation(samples(torch.cat([TRAINING[:200], FRESH[:1800]])), samples(HELD_OUT), samples(TRAINING))
    score = METRIC.measure(made)
    assert score.value == copied_share(made.fake.features, HELD_OUT, TRAINING)
    assert score.settings == {"quantile": 0.01, "training samples": 3000}
    assert METRIC.floor(made).value == pytest.approx(0.01, abs=0.01)


def test_copies_of_data_without_a_held_out_part():
    """`gpgan eval --real A --fake B` compares with one part of A and searches the other; B may hold copies of both."""
    data = normals(4000, 4)
    real, rest = samples(data[:1500]), samples(data[1500:])
    for fake, expected in ((data[:1500], 1), (data[1000:2500], 1), (data[-1500:], 1), (FRESH[:1500], 0.01)):
        made = Evaluation(samples(fake), real, rest, held_out=False)
        assert METRIC.measure(made).value == pytest.approx(expected, abs=0.008)
        assert METRIC.floor(made).value == pytest.approx(0.01, abs=0.008)
    divided = Evaluation(samples(data[:1500]), real, rest)
    assert METRIC.measure(divided).value == pytest.approx(0.01, abs=0.002), "the reals themselves"


@pytest.mark.parametrize("n", [400, 700])
def test_a_folder_against_copies_of_it(tmp_path, monkeypatch, n):
    """With 700 of 1000 no samples are left for a floor."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset, by = Dataset("made", normals(1000, 4)), Compared(Raw((4,)), None)
    reals = report_part(dataset, n, 0, by, exactly=True)
    copies = dataset.samples()[:n]
    made = by.set_of("generated samples", copies)
    results = quality(made, Generated(copies), dataset, reals, by, ["copied_share"], strict=True)
    assert results["copied_share"].score == 1


def test_all_of_the_data_is_compared():
    """The searched samples are then the same ones."""
    real = samples(FRESH)
    made = Evaluation(samples(FRESH.flip(0)), real, samples(FRESH), held_out=False)
    assert METRIC.measure(made).value == 1
    new = Evaluation(samples(HELD_OUT), real, samples(FRESH), held_out=False)
    assert METRIC.measure(new).value == pytest.approx(0.01, abs=0.01)


def test_data_with_repeated_samples():
    """A tenth of the held-out samples are in the training set too, so that the quantile of all distances is 0."""
    held_out = torch.cat([TRAINING[:200], HELD_OUT[200:]])
    near = TRAINING[:1000] + 1e-3
    assert copied_share(near, held_out, TRAINING) == 1
    assert copied_share(FRESH, held_out, TRAINING) == pytest.approx(0.01, abs=0.01)


def test_another_training_set_is_measured_anew():
    """Complaint: cached statistics of other data."""
    fake, real = samples(TRAINING[:500]), samples(HELD_OUT)
    first, second = (METRIC.measure(Evaluation(fake, real, samples(each))).value for each in (TRAINING[:2000], FRESH))
    assert first == 1 > 0.1 > second


def test_what_is_refused():
    few, many = samples(normals(99, 2)), samples(normals(100, 2))
    assert METRIC.refuses(Evaluation(many, many)).startswith("there are no training samples to compare with; expected")
    assert METRIC.refuses(Evaluation(many, few, many)).startswith("there are 99 real samples; expected 100 or more")
    assert METRIC.refuses(Evaluation(few, many, many)) == ""
