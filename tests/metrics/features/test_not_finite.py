"""Samples that are not finite, of which some networks would make finite features by clamping."""

import pytest
import torch

from gpgan.metrics.features.classifier import Classifier
from gpgan.metrics.sample_set import SampleSet


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_refused(value):
    samples = torch.zeros(3, 1, 8, 8)
    samples[1, 0, 2, 2] = value
    with pytest.raises(ValueError, match=r"1 of 3 samples .*not finite"):
        _ = SampleSet(samples, Classifier("digits", (1, 8, 8))).features
