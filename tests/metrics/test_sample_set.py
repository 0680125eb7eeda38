"""Sets of samples: what is derived from them is computed once, in batches, and checked."""

import pytest
import torch

from gpgan.metrics import sample_set
from gpgan.metrics.features.raw import Raw
from gpgan.metrics.sample_set import SampleSet


class Watched(Raw):
    """Raw features, as probabilities too, that note the sizes of batches."""

    def __init__(self, shape=(3,), identity="watched"):
        super().__init__(shape)
        self.identity, self.sizes = identity, []

    def features(self, samples):
        self.sizes.append(len(samples))
        return super().features(samples)

    def probabilities(self, features):
        return features.softmax(1)


def test_every_sample_goes_through_the_network_once_in_batches():
    values, network, told = torch.randn(603, 3), Watched(), []
    samples = SampleSet(values, network, progress=lambda done, count: told.append((done, count)))
    for _ in range(2):
        assert torch.equal(samples.features, values)
    assert network.sizes == [250, 250, 103]
    assert told == [(250, 603), (500, 603), (603, 603)]
    assert len(samples) == 603


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_batch_size_does_not_matter(batch, monkeypatch):
    values = torch.randn(100, 3)
    whole = SampleSet(values, Watched()).features
    monkeypatch.setattr(sample_set, "BATCH", batch)
    assert torch.equal(SampleSet(values, Watched()).features, whole)


def test_features_are_computed_once_for_both_uses_of_one_network():
    network = Watched()
    samples = SampleSet(torch.randn(10, 3), network, network)
    assert torch.allclose(samples.probabilities, samples.features.softmax(1))
    assert network.sizes == [10]


def test_another_classifier_has_features_of_its_own():
    network, classifier = Watched(), Watched(identity="another")
    samples = SampleSet(torch.randn(10, 3), network, classifier)
    assert torch.allclose(samples.probabilities.sum(1), torch.ones(10))
    assert classifier.sizes == [10]
    assert network.sizes == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_samples_that_are_not_finite_are_counted(bad):
    values = torch.randn(300, 3)
    values[[3, 290], 1] = bad
    with pytest.raises(ValueError, match="2 of 300 samples or their features by raw are not finite; expected finite"):
        _ = SampleSet(values, Watched()).features


def test_parts_read_the_features_of_the_whole():
    values, network = torch.randn(20, 3), Watched()
    whole = SampleSet(values, network, network)
    part = whole.part(5, 12)
    assert len(part) == 7
    assert torch.equal(part.features, values[5:12])
    assert torch.equal(part.probabilities, whole.probabilities[5:12])
    assert torch.equal(part.vectors, values[5:12].double())
    assert torch.equal(part.part(2, 4).features, values[7:9])
    assert len(whole.part(15, 99)) == 5
    assert network.sizes == [20]


def test_what_is_derived_from_a_part_is_its_own():
    whole = SampleSet(torch.randn(20, 3), Watched())
    assert float(whole.derived("count", lambda: torch.tensor(20.0))) == 20
    assert float(whole.part(0, 5).derived("count", lambda: torch.tensor(5.0))) == 5


def test_the_first_samples():
    whole = SampleSet(torch.randn(20, 3), Watched())
    assert whole.first(20) is whole
    assert whole.first(30) is whole
    assert torch.equal(whole.first(3).features, whole.features[:3])


def test_results_are_computed_once_by_name():
    samples, calls = SampleSet(torch.randn(5, 3)), []
    for name in ("a", "b", "a"):
        samples.derived(name, lambda name=name: calls.append(name) or torch.zeros(1))
    assert calls == ["a", "b"]


def test_a_store_is_asked_first():
    class Kept:
        def get(self, name, compute):
            return torch.full((5, 3), 7.0) if name == "features" else compute()

    network = Watched()
    assert torch.equal(SampleSet(torch.randn(5, 3), network, kept=Kept()).features, torch.full((5, 3), 7.0))
    assert network.sizes == []


def test_vectors_are_exact():
    values = torch.randn(4, 2, 3)
    vectors = SampleSet(values).vectors
    assert vectors.dtype == torch.float64
    assert torch.equal(vectors, values.double().flatten(1))
