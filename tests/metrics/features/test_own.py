"""Feature networks of the user's own, by module:attribute."""

import sys

import pytest
import torch
from torch import nn

from gpgan.metrics.features.own import Own
from gpgan.metrics.features.registry import open_network

CODE = """
import torch
from torch import nn


class Means(nn.Module):
    def __init__(self, shape):
        super().__init__()
        torch.manual_seed(0)
        self.project = nn.Linear(shape[0], 3)
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.dropout(self.project(x.mean((2, 3)))))


class Centred(Means):
    def forward(self, x):
        y = super().forward(x)
        return y - y.mean(0)


class Chance(Means):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5)


class Shaped(Means):
    def forward(self, x):
        return x


class Summed(Means):
    def forward(self, x):
        return super().forward(x).sum(0, keepdim=True)


class Listed(Means):
    def forward(self, x):
        return [super().forward(x)]


class Infinite(Means):
    def forward(self, x):
        return super().forward(x) / 0


class Failing(Means):
    def forward(self, x):
        return super().forward(x[:, :1])


def number(shape):
    return 3


def without(size):
    return Means((3,))


class Nested:
    make = staticmethod(lambda shape: Means(shape))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module in the current folder."""
    name = "own_features_of_a_test"
    (tmp_path / f"{name}.py").write_text(CODE, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop(name, None)
    yield name
    sys.modules.pop(name, None)


def test_features_are_those_of_the_network_in_evaluation_mode(module):
    network = open_network(f"{module}:Means", shape=(3, 8, 8))
    images = torch.rand(5, 3, 8, 8)
    features = network.features(images)
    own = sys.modules[module].Means((3,)).eval()
    assert torch.equal(features, own(images).detach())
    assert (network.dimension, network.classes, features.dtype) == (3, (), torch.float32)
    assert not features.requires_grad
    assert network.name == f"{module}:Means"
    assert "3 features" in network.about


def test_dots_in_the_attribute(module):
    assert Own(f"{module}:Nested.make", (3, 8, 8)).dimension == 3


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ("Centred", "depend on the other samples of its batch, or on chance; expected the same features in any batch"),
        ("Chance", "depend on the other samples of its batch, or on chance"),
        ("Shaped", r"returned \(4, 3, 8, 8\) for samples \(4, 3, 8, 8\); expected a Tensor \[4, d\]"),
        ("Summed", r"returned \(1, 3\) for samples \(4, 3, 8, 8\); expected a Tensor \[4, d\]"),
        ("Listed", r"returned a list for samples \(4, 3, 8, 8\)"),
        ("Infinite", "returned values that are not finite for finite samples"),
        ("Failing", r"failed on samples \(4, 3, 8, 8\): mat1 and mat2"),
        ("number", r"returned a int; expected an nn\.Module"),
        ("without", r"cannot be called with shape="),
        ("Nothing", "has no attribute 'Nothing'"),
    ],
)
def test_other_networks_are_refused_by_name(module, attribute, says):
    with pytest.raises(ValueError, match=rf"features is '{module}:{attribute}'.*{says}") as error:
        Own(f"{module}:{attribute}", (3, 8, 8))
    assert "\n" not in str(error.value)


def test_samples_that_are_not_finite_are_left_to_the_set_of_samples(module):
    features = Own(f"{module}:Means", (3, 8, 8)).features(torch.full((2, 3, 8, 8), float("nan")))
    assert features.isnan().all()


def test_the_identity_depends_on_weights_and_source(module, tmp_path, monkeypatch):
    where = f"{module}:Means"
    first = Own(where, (3, 8, 8)).identity
    assert Own(where, (3, 8, 8)).identity == first
    assert Own(f"{module}:Nested.make", (3, 8, 8)).identity != first
    plain = nn.Linear.reset_parameters
    with monkeypatch.context() as patch:
        patch.setattr(nn.Linear, "reset_parameters", lambda self: (plain(self), self.weight.data.mul_(1.5)))
        assert Own(where, (3, 8, 8)).identity != first
    with (tmp_path / f"{module}.py").open("a", encoding="utf-8") as file:
        file.write("# another way to compute\n")
    assert Own(where, (3, 8, 8)).identity != first


def test_an_unknown_module_is_named():
    with pytest.raises(ValueError, match=r"features is 'not_there_at_all:Net', and module not_there_at_all is neither"):
        open_network("not_there_at_all:Net", shape=(3, 8, 8))
