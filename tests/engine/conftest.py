"""What several files of engine tests stand on; each module has its own."""

from __future__ import annotations

import pytest

from engine.embedded import MODEL_DIR
from engine.workshop import Workshop
from tests.reference import Reference


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop()


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.load(MODEL_DIR, centred=True)
