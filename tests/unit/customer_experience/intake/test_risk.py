"""Risk features: what repeats, what is out of pattern, who sends, how it presses; the order of arrival counts."""

from __future__ import annotations

import math
import time

import pandas as pd
import pytest

from baton.errors import BatonError
from baton_packs.customer_experience.intake.pressure import urgency
from baton_packs.customer_experience.intake.risk import FEATURES, features

USUAL = {"issuer": "Oat & Rye Mills Ltd", "invoice_number": "A-1", "account_number": "GB29NWBK60161331926819", "total": 100.0,
         "currency": "GBP", "date": "2024-03-01", "sender": "billing@oatrye.example"}  # fmt: skip


def frames(*documents: dict[str, object]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parsed and extracted frames of documents, one a minute."""
    parsed, fields = [], []
    for i, given in enumerate(documents):
        one = {"document_id": f"d{i}", "received_at": pd.Timestamp("2024-04-01", tz="UTC") + pd.Timedelta(minutes=i),
               "sender_name": "", "reply_to": "", "subject": "Invoice", "text": "please find the invoice", "confidence": 0.9,
               "_row": i, **USUAL, **given}  # fmt: skip
        parsed.append(
            {
                k: one[k]
                for k in ("document_id", "received_at", "sender", "sender_name", "reply_to", "subject", "text", "_row")
            }
        )
        fields.append(
            {
                k: one[k]
                for k in (
                    "document_id",
                    "issuer",
                    "invoice_number",
                    "account_number",
                    "total",
                    "currency",
                    "date",
                    "confidence",
                )
            }
        )
    return pd.DataFrame(parsed), pd.DataFrame(fields)


def past(*documents: dict[str, object]) -> pd.DataFrame:
    """Earlier documents."""
    rows = [{"document_id": f"p{i}", **USUAL, **given} for i, given in enumerate(documents)]
    return pd.DataFrame(rows, columns=["document_id", *USUAL])


def one(given: dict[str, object], earlier: pd.DataFrame) -> dict[str, float]:
    return features(*frames(given), earlier).iloc[0].to_dict()


def test_duplicates() -> None:
    seen = past({})
    assert one({}, seen)["duplicate"] == 1.0
    assert (
        one({"invoice_number": "a 1", "issuer": "OAT & RYE MILLS", "total": 7.0, "date": None}, seen)["duplicate"]
        == 1.0
    )
    assert one({"invoice_number": "A-2"}, seen)["duplicate"] == 1.0  # the same total on the same day
    assert one({"invoice_number": "A-2", "total": 101.0}, seen)["duplicate"] == 0.0
    assert one({"issuer": "Other Mills Ltd"}, seen)["duplicate"] == 0.0
    assert (
        one({"document_id": "p0", "issuer": None, "invoice_number": None, "total": math.nan}, seen)["duplicate"] == 1.0
    )
    question = {"issuer": None, "total": math.nan, "invoice_number": "A-1"}
    assert one(question, past({"issuer": None, "total": math.nan}))["duplicate"] == 0.0  # asks about an invoice again


def test_earlier_documents_of_the_batch_are_past_whatever_their_position() -> None:
    late = pd.Timestamp("2024-05-01", tz="UTC")
    parsed, fields = frames(
        {"received_at": late}, {}, {"document_id": "d1", "invoice_number": "B-9", "total": 1.0, "date": None}
    )
    made = features(parsed, fields, past())
    assert list(made["document_id"]) == ["d0", "d1", "d1"]
    assert made["duplicate"].tolist() == [1.0, 0.0, 1.0]
    assert made["known_issuer"].tolist() == [1.0, 0.0, 1.0]
    assert made["_row"].tolist() == [0, 1, 2]
    assert all(made[name].dtype == "float64" for name in FEATURES)


def test_amounts_out_of_pattern() -> None:
    seen = past({}, {"total": 110.0}, {"total": 90.0}, {"issuer": "Other Mills Ltd", "total": 5.0})
    fresh = {"invoice_number": "A-9", "date": "2024-04-01"}
    assert one({**fresh, "total": 1000.0}, seen)["amount_ratio"] == pytest.approx(math.log(10))
    assert one({**fresh, "total": 1e300}, seen)["amount_ratio"] == 10.0
    assert one({**fresh, "total": -100.0}, seen) | {"amount_ratio": 0.0, "amount": -100.0} == one(
        {**fresh, "total": -100.0}, seen
    )
    assert one({**fresh, "issuer": "New Mills Ltd"}, seen)["amount_ratio"] == 0.0
    yen = {**fresh, "total": 20_000.0, "currency": "JPY"}
    assert one(yen, seen)["amount_ratio"] == 0.0  # what it usually bills in pounds says nothing about yen
    both = pd.concat([seen, past({"total": 20_000.0, "currency": "JPY", "document_id": "p9"})])
    assert one({**yen, "total": 2_000.0}, both)["amount_ratio"] == pytest.approx(-math.log(10))
    missing = one({**fresh, "total": math.nan, "confidence": 0.0}, seen)
    assert (missing["total_missing"], missing["amount"], missing["amount_ratio"]) == (1.0, 0.0, 0.0)
    assert one({**fresh, "total": math.nan, "confidence": 1.0}, seen)["total_missing"] == 0.0


def test_changed_account() -> None:
    assert one({"account_number": "GB94BARC10201530093459"}, past({}))["new_account"] == 1.0
    assert one({"account_number": "gb29 nwbk 6016 1331 9268 19"}, past({}))["new_account"] == 0.0
    assert one({"account_number": None}, past({}))["new_account"] == 0.0
    assert one({}, past({"account_number": None}))["new_account"] == 0.0  # none was known


def test_nobody_is_known_for_having_no_sender() -> None:
    nameless = {"issuer": None, "sender": ""}
    assert one(nameless, past(nameless))["known_issuer"] == 0.0
    assert features(*frames(nameless, nameless), past())["known_issuer"].tolist() == [0.0, 0.0]
    assert one({"issuer": None}, past({"issuer": None}))["known_issuer"] == 1.0


@pytest.mark.parametrize(
    ("given", "mismatch"),
    [({}, 0.0), ({"sender": "billing@oatrye-payments.example"}, 1.0), ({"sender": "ap@mail.oatrye.example"}, 0.0),
     ({"sender_name": "boss@oatrye.example", "sender": "x1@mailer.example"}, 1.0),
     ({"reply_to": "refund@elsewhere.example"}, 1.0), ({"reply_to": "office@oatrye.example"}, 0.0),
     ({"issuer": "New Mills Ltd", "sender_name": "New Mills Accounts", "sender": "newmills77@gmail.com"}, 1.0),
     ({"issuer": "New Mills Ltd", "sender_name": "Accounts", "sender": "post@newmills.example"}, 0.0), ({"sender": ""}, 0.0)],
)  # fmt: skip
def test_sender_mismatch(given: dict[str, object], mismatch: float) -> None:
    assert one(given, past({}))["sender_mismatch"] == mismatch


@pytest.mark.parametrize(
    "text",
    ["This is urgent: keep this between us, pay today to our new bank details.",
     "Dringend! Bitte sofort zahlen, neue Bankverbindung, streng vertraulich.",
     "Très urgent, n’en parlez à personne: nouvelles coordonnées\nbancaires.",
     "Met spoed: nieuwe bankgegevens, strikt vertrouwelijk."],
)  # fmt: skip
def test_pressure_and_secrecy_in_each_language(text: str) -> None:
    assert urgency("Payment", text) > 0.7
    assert urgency("Invoice 4711", "Please find attached our invoice. Thank you for your order.") == 0.0


@pytest.mark.parametrize("front", [0, 3_000, 15_000, 19_990, 20_000, 33_000, 44_000])
def test_harmless_characters_in_front_do_not_hide_a_letter(front: int) -> None:
    letter = "Keep this between us. Our new bank details are below, please pay immediately, today before noon. " * 30
    harmless = ("Thank you for your order of valves. " * 1_400)[:front]
    alone = urgency("Payment", letter)
    assert alone > 0.7
    assert urgency("Payment", harmless + letter) == alone
    assert urgency("Payment", harmless + letter + harmless) == alone
    assert urgency("Payment", harmless) == 0.0


def test_what_does_not_fit_is_said() -> None:
    parsed, fields = frames({}, {})
    assert features(parsed, fields.iloc[::-1], past())["document_id"].tolist() == ["d0", "d1"]
    with pytest.raises(BatonError, match="1 documents have no extracted fields, first d1"):
        features(parsed, fields.iloc[:1], past())
    with pytest.raises(BatonError, match="lack the columns sender"):
        features(parsed, fields, past({}).drop(columns="sender"))
    assert len(features(parsed.iloc[:0], fields.iloc[:0], past())) == 0


def test_a_hostile_sender_takes_no_time() -> None:
    from baton_packs.customer_experience.fields.company import name_key
    from baton_packs.customer_experience.fields.issuer import PART
    from baton_packs.customer_experience.intake.risk import ADDRESS

    started = time.process_time()
    name_key("," * 20_000 + "a")
    PART.search("a" + " " * 20_000 + "b")
    ADDRESS.search("a" * 20_000)
    assert time.process_time() - started < 0.5
