"""The people of the demo: they find a form among others by what it holds, send all of it, and hear a refusal in words."""

from __future__ import annotations

import httpx
import pytest

from baton.errors import BatonError
from baton_demo.incident_response.people import OverHttp, forms, said_in

PAGE = """<style>p {}</style><main><p>Two &amp; more</p>
<form action="/baton/actions/undo"><input type="hidden" name="key" value="a"><input type="hidden" name="token" value="t"><button>Undo</button></form>
<form action="/baton/actions/undo"><input type="hidden" name="key" value="b"><button>Undo</button></form>
<form action="/baton/actions/requests/7"><input type="hidden" name="seen" value="s"><input type="text" name="reason">
<button name="answer" value="approved">Approve</button> <button name="answer" value="refused">Refuse</button></form></main><script>x</script>"""


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> tuple[OverHttp, list[httpx.Request]]:
    """A desk at a site of three addresses, and what was sent to it."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "abc"})
        if request.method == "POST" and request.url.path.endswith("/undo"):
            return httpx.Response(409, html="<main><h2>This was not done</h2> somebody else has to agree</main>")
        return httpx.Response(200, html=PAGE)

    client = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **given: client(**given, transport=httpx.MockTransport(answer)))
    return OverHttp("http://127.0.0.1:8080", "op", "secret"), seen


def test_forms_and_words_of_a_page() -> None:
    found = forms(PAGE)
    assert [one.fields.get("key") for one in found] == ["a", "b", None]
    assert found[2].buttons == {"Approve": ("answer", "approved"), "Refuse": ("answer", "refused")}
    assert said_in(PAGE) == "Two & more Undo Undo Approve Refuse"


def test_a_form_goes_with_all_that_it_holds_as_a_browser_sends_it(desk: tuple[OverHttp, list[httpx.Request]]) -> None:
    at, seen = desk
    at.press("actions", "/requests/7", "Refuse", typed={"reason": "no"})
    sent = seen[-1]
    assert sent.content == b"seen=s&reason=no&answer=refused"
    assert (sent.headers["origin"], sent.headers["cookie"]) == ("http://127.0.0.1:8080", "_token=abc")
    assert "authorization" not in sent.headers


def test_a_refusal_and_a_missing_button_are_said(desk: tuple[OverHttp, list[httpx.Request]]) -> None:
    at, seen = desk
    with pytest.raises(BatonError, match="409: This was not done somebody else has to agree"):
        at.press("actions", "/actions/undo", "Undo", held={"key": "b"})
    assert seen[-1].content == b"key=b"
    with pytest.raises(BatonError, match="no button 'Undo'"):
        at.press("actions", "/actions/undo", "Undo", held={"key": "c"})
