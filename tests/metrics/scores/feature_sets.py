"""Sets of features, and evaluations of them."""

import torch

from gpgan.metrics.features.raw import Raw
from gpgan.metrics.metric import Evaluation
from gpgan.metrics.sample_set import SampleSet


def normals(n, d, seed=0, mean=0.0, deviation=1.0):
    """float32 [n, d], independent and normal."""
    rng = torch.Generator().manual_seed(seed)
    return (torch.randn(n, d, generator=rng, dtype=torch.float64) * deviation + mean).float()


def samples(features):
    """A set whose features are these."""
    return SampleSet(features, Raw(features.shape[1:]))


def evaluation(fake, real, **more):
    return Evaluation(samples(fake), samples(real), **more)


class Classifier(Raw):
    """Samples are the probabilities of classes named "0", "1", ..."""

    name = "made"

    def __init__(self, count):
        super().__init__((count,))
        self.classes = [str(i) for i in range(count)]

    def probabilities(self, features):
        return features


def classified(fake, real):
    """An evaluation of probabilities [n, K]."""
    classifier = Classifier(fake.shape[1])
    return Evaluation(*(SampleSet(each, classifier, classifier) for each in (fake, real)))


def one_hot(*classes, count):
    return torch.nn.functional.one_hot(torch.tensor(classes), count).float()
