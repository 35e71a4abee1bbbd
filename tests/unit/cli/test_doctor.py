"""What the doctor says of files that only their owner may read."""

from pathlib import Path

import pytest

from baton.cli.doctor import examine
from baton.settings import settings


def test_a_home_that_others_can_look_into_is_wrong(home: Path) -> None:
    home.chmod(0o755)
    wrong = next(one for one in examine() if one.what == "home's mode")
    assert (wrong.ok, wrong.says) == (False, f"mode 0755: others can look into it; chmod 700 {home}")
    home.chmod(0o700)
    assert next(one for one in examine() if one.what == "home's mode").ok


def test_a_secret_that_others_can_read_is_wrong_and_a_public_key_is_not(home: Path) -> None:
    keys = home / "keys"
    keys.mkdir(mode=0o700)
    for name, mode in (("signing.pem", 0o600), ("signing.pub", 0o644)):
        (keys / name).write_text("key")
        (keys / name).chmod(mode)
    assert next(one for one in examine() if one.what == "secrets").ok
    (keys / "signing.pem").chmod(0o644)
    wrong = next(one for one in examine() if one.what == "secrets")
    assert not wrong.ok
    assert "signing.pem: chmod 600 it" in wrong.says


@pytest.mark.parametrize(
    ("url", "ok", "says"),
    [
        ("memory://doctor", True, "memory://doctor takes a name once"),
        ("nowhere://bucket/store", False, "BATON_STORE_URL: no driver for nowhere://"),
    ],
)
def test_an_object_store_is_tried(home: Path, monkeypatch: pytest.MonkeyPatch, url: str, ok: bool, says: str) -> None:
    monkeypatch.setenv("BATON_STORE_URL", url)
    settings.cache_clear()
    found = next(one for one in examine() if one.what == "store")
    assert (found.ok, found.says[: len(says)]) == (ok, says)
