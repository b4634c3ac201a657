"""The conformance suite over every store that there is."""

import pytest

from modelreg.store.kubo import KuboStore
from modelreg.store.kubo_api import KuboAccess, KuboApi
from modelreg.store.local import LocalStore
from modelreg.store.multi import MultiStore
from tests.store.conformance import BlockStoreConformance
from tests.store.memory import MemoryStore


class TestMemoryStore(BlockStoreConformance):
    @pytest.fixture
    def store(self):
        self.memory = MemoryStore()
        return self.memory

    def plant(self, cid, data):
        self.memory.kept[cid] = data


class TestLocalStore(BlockStoreConformance):
    @pytest.fixture
    def store(self, tmp_path):
        self.root = tmp_path / "store"
        return LocalStore(self.root)

    def plant(self, cid, data):
        path = self.root / "blocks" / str(cid)[-3:-1] / str(cid)
        path.parent.mkdir()
        path.write_bytes(data)


class TestMultiStore(TestLocalStore):
    @pytest.fixture
    def store(self, tmp_path):
        self.root = tmp_path / "store"
        return MultiStore(LocalStore(self.root), [MemoryStore("peer 1"), MemoryStore("peer 2")])


@pytest.mark.kubo
class TestKuboStore(BlockStoreConformance):
    keyed_by_digest = True

    @pytest.fixture
    def store(self, kubo):
        self.kubo = kubo
        return KuboStore(KuboApi(KuboAccess(kubo.url)))

    def plant(self, cid, data):
        self.kubo.plant(cid, data)
