"""A separate cache folder for the tests, and files to load."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory, monkeypatch):
    """One for all tests of a session, so that the emoji are decoded once."""
    home = tmp_path_factory.getbasetemp() / "cache home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


@pytest.fixture
def save(tmp_path):
    """Writes an array to a ``.npy`` file and returns its path."""

    def save(array, name="a.npy"):
        np.save(tmp_path / name, array)
        return str(tmp_path / name)

    return save


@pytest.fixture
def picture(tmp_path):
    """Writes an image into the folder ``photos`` and returns the file's path."""

    def picture(name, pixels, mode=None, **options):
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
        path = Path(tmp_path, "photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        (image.convert(mode) if mode else image).save(path, **options)
        return path

    return picture


@pytest.fixture
def photos(tmp_path):
    return str(tmp_path / "photos")
