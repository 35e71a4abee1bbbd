"""Names of slots and of their objects: any partition is a harmless path, and is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baton.stages import garbage
from baton.stages.slots import Slot


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "a b", "é"])
def test_names_that_would_be_odd_paths_are_refused(name):
    with pytest.raises(ValueError, match="cannot name"):
        Slot(name, "stage", "p")
    with pytest.raises(ValueError, match="cannot name"):
        Slot("flow", name, "p")


def test_a_slot_needs_a_partition():
    with pytest.raises(ValueError, match="partition"):
        Slot("flow", "stage", "")


@given(partition=st.text(min_size=1, max_size=20), fence=st.integers(1, 10**6), index=st.integers(-1, 99))
def test_any_partition_is_one_harmless_path_segment(partition, fence, index):
    try:
        partition.encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    slot = Slot("flow~dry", "stage", partition, index)
    segment = slot.folder.split("/")[2]
    assert slot.folder.count("/") == 3
    assert segment.isascii()
    assert not segment.startswith(".")
    name = f"{slot.folder}/{'0' * 64}-{fence}-{'a' * 12}.parquet"
    assert garbage._parse(name, "a" * 12) == (slot, fence)
    assert garbage._parse(name, "b" * 12) is None


OBJECT = f"{'0' * 64}-1-{'a' * 12}.parquet"


@pytest.mark.parametrize(
    "name",
    ["x.parquet", "f/s/p/-1/x.parquet", f"f/s/p/a/{OBJECT}", f"1/s/p/-1/{OBJECT}", f"f/s//-1/{OBJECT}",
     f"f/s/p/-1/{OBJECT}/x"],
)  # fmt: skip
def test_other_peoples_objects_are_not_taken_for_ours(name):
    assert garbage._parse(name, "a" * 12) is None
