"""Erasures are found by the entity, and by exactly the flow that is asked for."""

from __future__ import annotations

from pathlib import Path

from baton.record import erased, ledger, warehouse


def test_a_flow_is_not_taken_for_one_whose_name_begins_so(home: Path) -> None:
    warehouse.migrate()
    with warehouse.write() as conn:
        for flow in ("orders", "orders_late", "orders"):
            ledger.append(conn, erased.ERASED, erased.subject(flow, "ann"), {"of": flow})
        ledger.append(conn, erased.ERASED, erased.subject("orders", "ben"), {"of": "orders"})
    assert [one.seq for one in erased.erasures("ann", "orders")] == [3, 1]
    assert [one.seq for one in erased.erasures("ann")] == [3, 2, 1]
    assert erased.erasures("ann", "order") == []
