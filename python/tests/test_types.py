"""S2 to S4: every type and plain parameters, over the wire, typed and dynamic."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import Any, List, Optional, Union

import pytest
from services import UTC, Cat, Dog, Everything, Level, Number, Plain, Types, everything
from typing_extensions import TypedDict

from aster import InvalidArgument, UsageError, rpc, service, wire_type
from aster.testing import Pair, pair


async def test_S2_every_type_comes_back_equal(both: Pair) -> None:
    typed = both.client.client(Types)
    value = everything(nested=everything())
    back = await typed.back(value)
    assert back == value
    assert type(back.pet) is Dog
    assert type(back.pet.friends[0]) is Cat
    assert type(back.by_number[5][0]) is Level
    assert type(back.unique) is set
    assert type(back.frozen) is frozenset
    assert type(back.pair) is tuple
    assert type(back.row) is tuple
    assert [each async for each in typed.repeat.stream(value)] == [value] * 3


async def test_S2_dynamic_proxy_gets_plain_values(both: Pair) -> None:
    back = await both.client.proxy("Types").back(everything())
    assert type(back) is dict
    assert back["when"] == datetime.datetime(2026, 1, 31, 12, 0, 0, 250, tzinfo=UTC)
    assert back["took"] == datetime.timedelta(seconds=-1.5)
    assert back["id"] == uuid.UUID(int=7)
    assert back["level"] == "HIGH"
    assert back["pet"] == {
        "$type": "test/Dog",
        "name": "rex",
        "friends": [{"$type": "test/Cat", "name": "tom"}, {"$type": "test/Dog", "name": "pup", "friends": []}],
    }
    assert back["by_number"] == {5: ["LOW"]}
    again = await both.client.proxy("Types").back(back)
    for each in (again, back):
        each["unique"].sort()  # a set has no order, and this is a list
    assert again == back


async def test_S2_unions_and_enums_as_messages(both: Pair) -> None:
    typed, dynamic = both.client.client(Types), both.client.proxy("Types")
    assert await typed.animal(Cat("a")) == Cat("a")
    assert await dynamic.animal({"name": "a", "$type": "test/Cat"}) == {"$type": "test/Cat", "name": "a"}
    with pytest.raises(InvalidArgument, match=r"\$type"):
        await dynamic.animal({"name": "a"})
    assert await typed.level(Level.HIGH) is Level.HIGH
    assert await typed.level() is Level.LOW
    assert await dynamic.level(level="HIGH") == "HIGH"
    assert await dynamic.level(level=Level.HIGH) == "HIGH"


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("small", 128, r"\$\.small: 128 is out of range for i8"),
        ("big", -1, r"\$\.big: -1 is out of range for u64"),
        ("numbers", [0, "x"], r"\$\.numbers\[1\]: expected i64, got string"),
        ("when", datetime.datetime(2026, 1, 1), r"\$\.when: a datetime without a time zone"),
        ("pair", (1,), r"\$\.pair: expected tuple of 2"),
        ("by_name", {"k": "v"}, r"""\$\.by_name\["k"\]: expected i64"""),
        ("pet", Number(1), r"\$\.pet"),
        ("level", "MIDDLE", r"\$\.level: `MIDDLE` is not a value of test/Level"),
        ("text", None, r"\$\.text: expected string, got null"),
    ],
)
async def test_S3_wrong_values_are_refused_by_path_before_sending(
    both: Pair, field: str, value: Any, path: str
) -> None:
    wrong = everything()
    setattr(wrong, field, value)
    for call in (both.client.client(Types).back, both.client.proxy("Types").back):
        with pytest.raises(InvalidArgument, match=path) as caught:
            await call(wrong)
        assert not caught.value.may_have_run


async def test_S4_plain_parameters_by_every_form(both: Pair) -> None:
    typed, dynamic = both.client.client(Plain), both.client.proxy("Plain")
    assert await typed.add(1, 2) == 3
    assert await typed.add(1) == 11
    assert await typed.add(a=1, b=5) == 6
    assert await typed.add(1, b=5) == 6
    assert await dynamic.add(a=1, b=2) == 3
    assert await dynamic.add({"a": 1}) == 11
    assert await typed.sync_add(2, 3) == 5  # type: ignore[misc]
    assert await typed.zero() == "nothing needed"
    assert await dynamic.zero() == "nothing needed"
    assert await dynamic.zero({}) == "nothing needed"
    assert await typed.silent("x") is None  # type: ignore[func-returns-value]
    assert await dynamic.mixed(items=[{"n": 1}, {"n": 2}], limit=1.0) == [{"n": 1}]
    assert await typed.mixed(items=[Number(1)]) == [Number(1)]  # type: ignore[call-arg]
    assert [each async for each in typed.upto.stream(6, step=2)] == [0, 2, 4]
    assert [each async for each in dynamic.upto.stream(n=2)] == [0, 1]


async def test_S4_wrong_parameters_are_refused(both: Pair) -> None:
    typed, dynamic = both.client.client(Plain), both.client.proxy("Plain")
    with pytest.raises(InvalidArgument, match=r"\$\.a: missing required field"):
        await typed.add()  # type: ignore[call-arg]
    with pytest.raises(InvalidArgument, match=r"\$\.a: expected i64, got string"):
        await dynamic.add(a="x")
    with pytest.raises(UsageError, match="takes 2 parameters"):
        await typed.add(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(InvalidArgument, match=r"\$\.c: unknown field"):
        await dynamic.add(a=1, c=1)


async def test_S2_pydantic_typed_dict_and_msgspec_as_messages() -> None:
    pydantic = pytest.importorskip("pydantic")
    import msgspec

    @wire_type("mix/Model")
    class Model(pydantic.BaseModel):
        agent: str = pydantic.Field(alias="agentId")
        when: Optional[datetime.datetime] = None
        limit: int = pydantic.Field(default=1, le=5)

    @wire_type("mix/Struct")
    class Struct(msgspec.Struct):
        models: List[Model]

    @wire_type("mix/Dict")
    class Dict(TypedDict):
        struct: Struct

    @wire_type("mix/Checked")
    @dataclass
    class Checked:
        n: int

        def __post_init__(self) -> None:
            if self.n < 0:
                raise ValueError("n must not be negative")

    @service
    class Mixed:
        @rpc
        async def m(self, req: Dict) -> Model:
            return req["struct"].models[0]

        @rpc
        async def checked(self, req: Union[Checked]) -> int:
            return req.n

    async with pair(Mixed()) as (client, _):
        typed, dynamic = client.client(Mixed), client.proxy("Mixed")
        sent = Model(agentId="a", when=datetime.datetime(2026, 1, 1, tzinfo=UTC))
        assert await typed.m({"struct": Struct([sent])}) == sent
        assert await dynamic.m({"struct": {"models": [{"agentId": "b"}]}}) == {"agentId": "b", "when": None, "limit": 1}
        with pytest.raises(InvalidArgument, match="limit"):
            await dynamic.m({"struct": {"models": [{"agentId": "b", "limit": 9}]}})
        assert await typed.checked(Checked(1)) == 1
        with pytest.raises(InvalidArgument, match="n must not be negative"):
            await dynamic.checked({"n": -1})


def test_S2_everything_is_one_type_in_every_direction() -> None:
    from aster._proxy import contract_of
    from aster._service import service_spec

    assert contract_of(service_spec(Types)).id == contract_of(service_spec(Types())).id
    assert Everything is not None
