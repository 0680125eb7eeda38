"""The four numbers are those of the two sets that are compared, however many sets came before."""

import gc

from feature_sets import normals, samples

from gpgan.metrics.metric import Evaluation
from gpgan.metrics.scores.neighbourhoods import measured


def test_a_new_real_set_is_measured_anew():
    """Even at the address of one that was freed."""
    features = normals(50, 3)
    fake = samples(features)
    for shift in (0.0, 9.0) * 10:
        real = samples(features + shift)
        assert measured(Evaluation(fake, real)).coverage == (1.0 if shift == 0 else 0.0)
        del real
        gc.collect()
