"""S1: decorators and their options, before anything is served."""

from __future__ import annotations

import datetime
import enum
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, List, Optional

import pytest

from aster import (
    AccessRule,
    CallContext,
    SchemaError,
    all_of,
    any_of,
    bidi_stream,
    client_stream,
    rpc,
    server_stream,
    service,
    wire_type,
)
from aster._service import HandlerForm, Pattern, service_spec


@wire_type("d/Req")
@dataclass
class Req:
    a: int = 0


class Role(str, enum.Enum):
    ADMIN = "ops.admin"
    LOGS = "ops.logs"


def test_S1_service_bare_by_position_and_by_keyword() -> None:
    @service
    class Bare:
        @rpc
        async def m(self, req: Req) -> Req: ...

    @service("Positional")
    class Two:
        @rpc()
        async def m(self, req: Req) -> Req: ...

    @service(
        name="Named", version=3, scoped="session", metadata={"team": "x"}, serialization="json", requires=Role.ADMIN
    )
    class Three:
        @rpc()
        async def m(self, req: Req) -> Req: ...

    bare, two, three = service_spec(Bare), service_spec(Two), service_spec(Three())
    assert (bare.name, bare.version, bare.session, bare.serialization) == ("Bare", 1, False, "msgpack")
    assert two.name == "Positional"
    assert (three.name, three.version, three.session, three.serialization) == ("Named", 3, True, "json")
    assert three.metadata == {"team": "x"}
    assert three.requires == AccessRule("all_of", ("ops.admin",))


def test_S1_method_options_are_recorded() -> None:
    @service
    class S:
        @rpc(name="renamed", timeout=1.5, idempotent=True, requires=any_of(Role.LOGS, "x"), metadata={"k": "v"})
        async def m(self, req: Req) -> Req: ...

        @server_stream(timeout=2)
        async def s(self, req: Req) -> AsyncIterator[Req]:
            yield req

        @rpc(inline=True)
        def i(self, req: Req) -> Req:
            return req

    by_name = {each.name: each for each in service_spec(S).methods}
    assert list(by_name) == ["i", "renamed", "s"], "sorted by name, as in the contract"
    renamed = by_name["renamed"]
    assert renamed.attribute == "m"
    assert (renamed.options.timeout, renamed.options.idempotent) == (1.5, True)
    assert renamed.options.requires == AccessRule("any_of", ("ops.logs", "x"))
    assert renamed.options.metadata == {"k": "v"}
    assert by_name["i"].options.inline
    assert by_name["s"].pattern is Pattern.SERVER_STREAM


def test_S4_request_object_plain_parameters_context_and_streams_are_told_apart() -> None:
    @service
    class S:
        @rpc
        async def request(self, ctx: CallContext, req: Req) -> None: ...

        @rpc
        async def plain(self, a: int, b: Optional[str] = None) -> int: ...

        @rpc
        async def one(self, a: List[Req]) -> int: ...

        @rpc
        async def none(self, ctx: CallContext) -> int: ...

        @client_stream
        async def up(self, items: AsyncIterator[int], ctx: CallContext) -> int: ...

        @bidi_stream
        async def both(self, items: AsyncIterator[Req]) -> AsyncIterator[int]:
            async for item in items:
                yield item.a

        @server_stream
        def made(self, req: Req) -> AsyncIterator[int]:
            return self.both(iter(()))  # type: ignore[arg-type]

        @server_stream
        def sync(self, req: Req) -> Iterator[int]:
            yield 1

    by_name = {each.name: each for each in service_spec(S).methods}
    assert (by_name["request"].request_parameter, by_name["request"].context_parameter) == ("req", "ctx")
    assert by_name["plain"].parameters == ("a", "b")
    assert [(each.name, each.required) for each in by_name["plain"].request.fields] == [("a", True), ("b", False)]  # type: ignore[union-attr]
    assert by_name["plain"].request.tag == "S.plain"  # type: ignore[union-attr]
    assert by_name["one"].parameters == ("a",)
    assert (by_name["none"].parameters, by_name["none"].context_parameter) == ((), "ctx")
    assert (by_name["up"].request_parameter, by_name["up"].context_parameter) == ("items", "ctx")
    assert by_name["made"].form is HandlerForm.ASYNC_GENERATOR
    assert by_name["sync"].form is HandlerForm.GENERATOR


def test_S1_methods_are_inherited_and_may_be_overridden() -> None:
    class Base:
        @rpc(name="renamed")
        async def m(self, req: Req) -> Req: ...

    @service
    class S(Base):
        async def m(self, req: Req) -> Req:
            return Req(7)

    assert [each.name for each in service_spec(S).methods] == ["renamed"]


def test_S2_annotation_of_a_class_defined_later_is_resolved_at_first_use() -> None:
    @service
    class S:
        @rpc
        async def m(self, req: Later) -> Later: ...

    global Later

    @wire_type("d/Later")
    @dataclass
    class Later:
        a: int = 0

    assert service_spec(S).methods[0].request.tag == "d/Later"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"version": 0}, "version="),
        ({"version": True}, "version="),
        ({"scoped": "stream"}, "scoped="),
        ({"serialization": "xml"}, "serialization="),
        ({"metadata": {"a": 1}}, "metadata="),
        ({"requires": 5}, "requires="),
        ({"name": ""}, "name"),
    ],
)
def test_S1_service_options_that_cannot_be_are_refused(options: Any, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):

        @service(**options)
        class S:
            @rpc
            async def m(self, req: Req) -> Req: ...


@pytest.mark.parametrize("timeout", [0, -1, 0.0, True, "1", float("nan"), float("inf"), datetime.timedelta(seconds=1)])
@pytest.mark.parametrize("decorator", [rpc, server_stream, client_stream, bidi_stream])
def test_S1_timeouts_that_cannot_be_are_refused(decorator: Any, timeout: Any) -> None:
    with pytest.raises(SchemaError) as info:

        @decorator(timeout=timeout)
        async def m(self: Any, req: Req) -> Req: ...

    assert str(info.value).startswith(f"@{decorator.__name__} ")
    assert f".m: timeout= is a number of seconds above 0, or None for no limit, and got {timeout!r}" in str(info.value)


@pytest.mark.parametrize("options", [{"name": ""}, {"metadata": {1: ""}}])
def test_S1_method_options_that_cannot_be_are_refused(options: Any) -> None:
    with pytest.raises(SchemaError, match=r"@rpc .*m"):

        @rpc(**options)
        async def m(self: Any, req: Req) -> Req: ...


def test_S1_empty_rules_are_refused() -> None:
    for rule in (any_of, all_of):
        with pytest.raises(SchemaError, match="at least one"):
            rule()
        with pytest.raises(SchemaError, match="not empty"):
            rule("")


def handler(body: str, decorator: str = "rpc") -> None:
    """Decorates a service with one handler, so that each mistake is one line."""
    names = {**globals(), "AsyncIterator": AsyncIterator, "Iterator": Iterator, "Any": Any}
    exec(f"@service\nclass Broken:\n    @{decorator}\n    {body}\n", names)


@pytest.mark.parametrize(
    ("body", "decorator", "reason"),
    [
        ("async def m(self, req: Req): ...", "rpc", r"Broken\.m: it has no return annotation"),
        ("async def m(self, req) -> Req: ...", "rpc", r"Broken\.m: the parameter 'req' has no annotation"),
        ("async def m(self, req: complex) -> Req: ...", "rpc", r"Broken\.m: parameter 'req': complex cannot be sent"),
        ("async def m(self, req: Req) -> set[complex]: ...", "rpc", r"Broken\.m: its answer\[\]: complex"),
        ("async def m(self, *reqs: Req) -> Req: ...", "rpc", "named parameters"),
        ("async def m(self, req: Req = Req()) -> Req: ...", "rpc", "has a default"),
        ("async def m(self, req: Req) -> AsyncIterator[Req]: ...", "rpc", "answers once"),
        ("async def m(self, req: Req) -> Req:\n        yield req", "rpc", "use @server_stream"),
        ("async def m(self, req: Req) -> Req: ...", "server_stream", r"AsyncIterator\[T\]"),
        ("async def m(self, req: Req) -> Req: ...", "client_stream", r"AsyncIterator\[T\]"),
        ("def m(self, req: AsyncIterator[Req]) -> Req: ...", "client_stream", r"come to `def` handlers as Iterator"),
        ("async def m(self) -> Req: ...", "client_stream", "one stream of requests"),
        ("async def m(self, req: Req) -> Req: ...", "rpc(inline=True)", "inline=True"),
        ("@staticmethod\n    def m(req: Req) -> Req: ...", "rpc", "static"),
    ],
)
def test_S2_handlers_that_cannot_be_fail_at_decoration(body: str, decorator: str, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        handler(body, decorator)


def test_S1_a_class_without_methods_and_two_of_one_name_are_refused() -> None:
    with pytest.raises(SchemaError, match="has no methods"):

        @service
        class Empty:
            pass

    with pytest.raises(SchemaError, match="both named 'm'"):

        @service
        class Twice:
            @rpc
            async def m(self, req: Req) -> Req: ...

            @rpc(name="m")
            async def n(self, req: Req) -> Req: ...


def test_S1_what_is_not_a_service_is_refused() -> None:
    with pytest.raises(SchemaError, match="decorate the class with @service"):
        service_spec(object())
