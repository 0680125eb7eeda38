"""The public packages can be reached from ``import gpgan`` alone, as the documentation uses them."""

import importlib

import pytest

import gpgan


@pytest.mark.parametrize("name", ["data", "labs", "metrics", "nn"])
def test_packages_are_imported_on_use(monkeypatch, name):
    module = importlib.import_module(f"gpgan.{name}")
    monkeypatch.delattr(gpgan, name)  # as before its first import
    assert getattr(gpgan, name) is module


def test_names_of_the_documentation():
    assert callable(gpgan.data.load)
    assert callable(gpgan.nn.spectral_norm)
    assert callable(gpgan.metrics.wasserstein1)
    assert set(gpgan.__all__) <= {name for name in gpgan.__all__ if hasattr(gpgan, name)}
    with pytest.raises(AttributeError, match="no attribute 'dta'"):
        gpgan.dta  # noqa: B018
