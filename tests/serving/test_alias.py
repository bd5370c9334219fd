"""The name that clients use, and the version that answers."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.alias import Alias, choose, parse_table
from serving.body import find_value, find_values
from tests.serving.asgi import Upstream, ask

TABLE = {"aliases": {"home": {"home-v1": 1.0}, "split": {"a": 0.5, "b": 0.5}}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def aliased(upstream: Upstream, draw: float = 0.5) -> Alias:
    """An alias layer that holds the table, with chance fixed."""
    alias = Alias(upstream, draw=lambda: draw)
    alias.adopt(TABLE)
    return alias


@given(before=st.dictionaries(st.text(), JSON, max_size=3), after=st.dictionaries(st.text(), JSON, max_size=3),
       indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans())  # fmt: skip
def test_only_the_model_changes(
    before: dict[str, Any], after: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    """Whatever stands around it, the top-level model is found where it is and the rest keeps every byte."""
    before.pop("model", None)
    after.pop("model", None)
    body = json.dumps({**before, "model": "home", **after}, indent=indent, ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    )
    start, end, value = find_values(body, ("model",))["model"]
    assert find_value(body, "model") == (start, end, value)
    assert (body[start:end], value) == (b'"home"', "home")
    changed = body[:start] + b'"x"' + body[end:]
    assert json.loads(changed) == json.loads(body) | {"model": "x"}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'{"mod\u0065l":"h\u006fme"}', "home"),
        (b'{"model":"a","model":"home"}', "home"),
        (b'{"messages":[{"model":"no"}],"x":"model","model":"home"}', "home"),
        (b'{"model":"a","model":1}', None),
        (b'{"x":{"model":"no"}}', None),
        (b'["model"]', None),
        (b'{"x":"\\"model\\":\\"no\\""}', None),
        (b"not json", None),
        (b'{"model":"hom', None),
        (b'{"model":"hom\\"', None),
        (b'"', None),
        (b'{"a\\\\":"x","model":"home"}', "home"),
        (b'{"say \\"model":"no"}', None),
        (b'{"input":[1,2,3,4,5,6,7,8,9,10,11,12],"model":"home"}', "home"),
        (b'\xef\xbb\xbf{"model":"home"}', "home"),
        (b"", None),
    ],
)
def test_odd_bodies(body: bytes, value: str | None) -> None:
    """Escapes, repeated keys, nested and quoted look-alikes are read as a JSON parser reads them."""
    found = find_values(body, ("model",))
    assert (found["model"][2] if "model" in found else None) == value
    assert find_value(body, "model") == found.get("model")


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """A JSON object with the wanted words as keys, values and parts of both, nested, escaped, repeated, far apart."""
    word = st.sampled_from(
        ["model", "user", '"model":', '\\"user', "m\u00f6del", "x", "", "role", "\\", 'model":"no"}']
    )
    value = st.recursive(
        word | st.integers(0, 9) | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(word, inner), max_size=3).map(tuple),
        max_leaves=12,
    )
    gap, escaped = draw(st.sampled_from(["", " ", "\n\t"])), draw(st.booleans())

    def written(item: Any) -> str:
        if isinstance(item, tuple):
            return "{" + f",{gap}".join(f"{written(key)}{gap}:{gap}{written(inner)}" for key, inner in item) + gap + "}"
        if isinstance(item, list):
            return "[" + f"{gap},".join(map(written, item)) + "]"
        return json.dumps(item, ensure_ascii=escaped)

    members: list[Any] = draw(st.lists(st.tuples(word, value), max_size=6))
    filler = draw(
        st.sampled_from([(), (("messages", [(("role", "user"), ("content", "hi"))] * 60),), (("p", "y" * 2500),)])
    )
    at = draw(st.integers(0, 6))
    text = written((*members[:at], *filler, *members[at:]))
    if draw(st.booleans()):
        text = text.replace('"model"', '"mod\\u0065l"', 1)
    return text.encode()


@settings(deadline=None, max_examples=100)
@given(hostile(), st.sampled_from(["model", "user"]))
def test_the_short_look_finds_what_the_walk_finds(body: bytes, key: str) -> None:
    """Of any JSON object: the very span, whatever else is called the same, and that of a parser, the last of equals."""
    found = find_value(body, key)
    assert found == find_values(body, (key,)).get(key)
    value = json.loads(body).get(key)
    assert (found[2] if found else None) == (value if isinstance(value, str) else None)
    assert found is None or json.loads(body[found[0] : found[1]]) == value


@pytest.mark.parametrize("first", [True, False])
def test_a_long_conversation_is_not_walked(first: bool) -> None:
    """Hundreds of short messages, with the names before or behind them: a look at one end is enough."""
    messages = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}] * 200}
    names = {"model": "home", "user": "ada"}
    body = json.dumps({**names, **messages} if first else {**messages, **names}).encode()
    with patch("serving.body.find_values", side_effect=AssertionError("walked")):
        found = [find_value(body, key) for key in ("model", "user")]
    assert [span and span[2] for span in found] == ["home", "ada"]


@pytest.mark.parametrize("chunks", [1, 3])
def test_the_alias_is_rewritten(chunks: int) -> None:
    """The app sees the version, the right length and every other byte; the client sees the version in a header."""
    body = b'{ "messages":[], "model" :\t"home" , "n": 1.50 }'
    pieces = [body[i::1][: len(body) // chunks + 1] for i in range(0, len(body), len(body) // chunks + 1)]
    upstream = Upstream()
    answer = asyncio.run(
        ask(aliased(upstream), "/v1/chat/completions", pieces, headers=[(b"content-length", b"%d" % len(body))])
    )
    expected = body.replace(b'"home"', b'"home-v1"')
    assert upstream.bodies == [expected]
    assert dict(upstream.scopes[0]["headers"])[b"content-length"] == b"%d" % len(expected)
    assert upstream.scopes[0]["trimtab"] == ("home", "home-v1")
    assert answer.headers[b"x-trimtab-version"] == b"home-v1"
    assert answer.body == b'{"ok":true}'


@pytest.mark.parametrize(
    "body", [b'{"model":"base"}', b'{"model":7}', b"junk", b"", '{"model":"home"}'.encode("utf-16")]
)
def test_other_names_pass_untouched(body: bytes) -> None:
    """A body that names no alias reaches the app as it came, and no version is claimed."""
    upstream = Upstream()
    answer = asyncio.run(ask(aliased(upstream), "/v1/completions", body))
    assert upstream.bodies == [body]
    assert answer.headers == {}


def test_without_a_table_nothing_is_read() -> None:
    """Before the agent speaks, the app gets the very messages of the client, one by one."""
    upstream = Upstream()
    asyncio.run(ask(Alias(upstream), "/v1/completions", [b'{"model":', b'"home"}']))
    assert upstream.bodies == [b'{"model":"home"}']


def test_a_client_that_leaves_early_is_passed_on() -> None:
    """A request cut in its body reaches the app as cut, not as whole."""
    upstream = Upstream()
    asyncio.run(ask(aliased(upstream), "/v1/completions", [b'{"model":', b'"home"}'], gone_after=1))
    assert (len(upstream.scopes), upstream.bodies) == (1, [])


def test_the_user_decides() -> None:
    """One user has one version: by the body's user, else by the header, else by chance."""

    def version(body: dict[str, Any], headers: list[tuple[bytes, bytes]], draw: float) -> bytes:
        answer = asyncio.run(
            ask(aliased(Upstream(), draw), "/v1/completions", json.dumps(body).encode(), headers=headers)
        )
        return answer.headers[b"x-trimtab-version"]

    draws = [i / 50 for i in range(50)]
    assert len({version({"model": "split", "user": "u1"}, [], d) for d in draws}) == 1
    assert len({version({"model": "split"}, [(b"x-trimtab-user", b"u1")], d) for d in draws}) == 1
    assert version({"model": "split", "user": "u1"}, [(b"x-trimtab-user", b"u2")], 0.1) == version(
        {"model": "split", "user": "u1"}, [], 0.1
    )
    assert {version({"model": "split"}, [], d) for d in draws} == {b"a", b"b"}


def test_without_a_user_the_request_decides() -> None:
    """A retried request meets the same version by its id; a user, told in body or header, comes before it."""

    def version(body: dict[str, Any], *headers: tuple[bytes, bytes], draw: float = 0.5) -> bytes:
        asked = ask(aliased(Upstream(), draw), "/v1/completions", json.dumps(body).encode(), headers=headers)
        return asyncio.run(asked).headers[b"x-trimtab-version"]

    ids = [f"request-{i}".encode() for i in range(40)]
    by_id = [{version({"model": "split"}, (b"x-request-id", i), draw=d / 9) for d in range(9)} for i in ids]
    assert all(len(versions) == 1 for versions in by_id)
    assert set.union(*by_id) == {b"a", b"b"}
    who = (b"x-trimtab-user", b"u1")
    assert len({version({"model": "split"}, who, (b"x-request-id", i)) for i in ids}) == 1
    assert len({version({"model": "split", "user": "u1"}, (b"x-request-id", i)) for i in ids}) == 1


def test_a_growing_canary_moves_nobody_else_through_the_door() -> None:
    """As the agent pushes one table after the other, users go over to the canary and none comes back."""
    upstream = Upstream()
    alias = Alias(upstream)
    before: dict[str, str] = {}
    for share in (0.0, 0.1, 0.3, 1.0):
        alias.adopt({"aliases": {"home": {"v1": 1 - share, "v2": share}}})
        for user in [*map(str, range(60)), "x" * 500]:
            asyncio.run(ask(alias, "/v1/completions", json.dumps({"model": "home", "user": user}).encode()))
            now = str(json.loads(upstream.bodies[-1])["model"])
            assert (before.get(user), now) != ("v2", "v1")
            before[user] = now
    assert set(before.values()) == {"v2"}


def test_a_growing_canary_moves_only_whom_it_must() -> None:
    """Shares follow the weights; when one grows, users move to it alone, and about as many as it grew."""
    users = [f"user-{i}" for i in range(4000)]
    steps = [{u: choose({"v1": 1 - w, "v2": w}, u) for u in users} for w in (0.0, 0.1, 0.5, 1.0)]
    for step, weight in zip(steps, (0.0, 0.1, 0.5, 1.0), strict=True):
        assert abs(sum(v == "v2" for v in step.values()) / len(users) - weight) < 0.03
    for before, after in pairwise(steps):
        assert not any(before[u] == "v2" and after[u] == "v1" for u in users)


@given(weights=st.dictionaries(st.text(max_size=3), st.floats(0, 1e6), max_size=4), user=st.text(max_size=5))
def test_a_version_without_weight_never_answers(weights: dict[str, float], user: str) -> None:
    """Whoever answers has weight, and somebody answers when anybody has."""
    chosen = choose(weights, user)
    assert (chosen is None) == (not any(w > 0 for w in weights.values()))
    assert chosen is None or weights[chosen] > 0


@pytest.mark.parametrize(
    "message",
    [{}, {"aliases": []}, {"aliases": {"a": 1}}, {"aliases": {"a": {"v": -1}}}, {"aliases": {"a": {"v": "nan"}}},
     {"aliases": {"a": {"v\r\nx": 1}}}],
)  # fmt: skip
def test_a_bad_table_is_refused_and_the_old_kept(message: dict[str, Any]) -> None:
    """A table that makes no sense changes nothing."""
    with pytest.raises(ValueError, match="alias"):
        parse_table(message)
    upstream = Upstream()
    alias = aliased(upstream)
    with pytest.raises(ValueError, match="alias"):
        alias.adopt(message)
    asyncio.run(ask(alias, "/v1/completions", b'{"model":"home"}'))
    assert upstream.bodies == [b'{"model":"home-v1"}']
