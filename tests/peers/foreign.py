"""dcm2bids, whose answers imported rules are compared with."""

from __future__ import annotations

import importlib
import urllib.error
import urllib.request
from types import ModuleType

import pytest

from peers.available import unavailable


@pytest.fixture(scope="session")
def dcm2bids_sidecar() -> ModuleType:
    """Its module ``sidecar``. When it is imported it asks the network for newer versions; here it may not."""

    def refused(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network in tests")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(urllib.request, "urlopen", refused)
        try:
            return importlib.import_module("dcm2bids.sidecar")
        except ImportError:
            unavailable("dcm2bids is not installed (pip install dcm2bids)")
