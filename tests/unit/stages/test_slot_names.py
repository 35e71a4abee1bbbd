"""Names of slots and of their objects: any partition is a harmless path, and is read back."""

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baton.data import objects
from baton.record import warehouse
from baton.record.tables import heads
from baton.stages.garbage import gc
from baton.stages.slots import Slot


@pytest.fixture
def owner(home):
    """The warehouse's own name, which the objects of its stages carry."""
    warehouse.migrate()
    yield warehouse.transact(warehouse.identity)
    warehouse.engine().dispose()


def removed(name):
    """Is the object, old and named by no commit, taken for one that an attempt of this warehouse left?"""
    gone = []
    with pytest.MonkeyPatch.context() as patch:
        found = objects.StoredObject(name, "file:///object.parquet", 0.0, 1)
        patch.setattr(objects, "listed", lambda wanted: [found] if wanted(name) else [])
        patch.setattr(objects, "delete", gone.append)
        assert gc().uris == gone
    return bool(gone)


def attempted(slot, fence):
    """Replace the attempts that the warehouse knows of by this one."""
    key = dict(zip(("flow", "stage", "partition", "map_index"), slot, strict=True))
    with warehouse.write() as conn:
        conn.execute(heads.delete())
        conn.execute(heads.insert().values(**key, fence=fence))


def fences():
    with warehouse.read() as conn:
        return list(conn.execute(sa.select(heads.c.fence)).scalars())


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "a b", "é"])
def test_names_that_would_be_odd_paths_are_refused(name):
    with pytest.raises(ValueError, match="cannot name"):
        Slot(name, "stage", "p")
    with pytest.raises(ValueError, match="cannot name"):
        Slot("flow", name, "p")


def test_a_slot_needs_a_partition():
    with pytest.raises(ValueError, match="partition"):
        Slot("flow", "stage", "")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(partition=st.text(min_size=1, max_size=20), fence=st.integers(1, 10**6), index=st.integers(-1, 99))
def test_any_partition_is_one_harmless_path_segment(owner, partition, fence, index):
    try:
        partition.encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    slot = Slot("flow~dry", "stage", partition, index)
    segment = slot.folder.split("/")[2]
    assert slot.folder.count("/") == 3
    assert segment.isascii()
    assert not segment.startswith(".")
    attempted((slot.flow, slot.stage, slot.partition, slot.map_index), fence)
    assert not removed(f"{slot.folder}/{'0' * 64}-{fence}-{'b' * 12}.parquet")  # of another warehouse
    assert fences() == [fence]
    assert removed(f"{slot.folder}/{'0' * 64}-{fence}-{owner}.parquet")
    assert fences() == [fence + 1], "the attempt is told by slot and fence, both read back from the name"


@pytest.mark.parametrize(
    "name",
    ["x.parquet", "f/s/p/-1/x.parquet", "f/s/p/a/OBJECT", "1/s/p/-1/OBJECT", "f/s//-1/OBJECT", "f/s/p/-1/OBJECT/x.parquet",
     "f/s/p/-1/OBJECT"],
)  # fmt: skip
def test_other_peoples_objects_are_not_taken_for_ours(name, owner):
    ours = f"{'0' * 64}-1-{owner}.parquet"
    parts = [*name.split("/"), *"???"][:3]
    attempted((parts[0], parts[1], parts[2], -1), 1)
    assert removed(name.replace("OBJECT", ours)) == (name == "f/s/p/-1/OBJECT")
