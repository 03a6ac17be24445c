"""K1: what Python types are described as has the id of the shared table, and the shared values are read and written."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import importlib.util
import json
import sys
import uuid
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple, Union

import msgspec
import pytest
from typing_extensions import Annotated

from aster import _native, rpc, service, wire_type
from aster._annotations import Scope
from aster._codec import Codec
from aster._describe import describe_service, read_methods
from aster._proxy import contract_of
from aster._schema import Number, Reflection
from aster._service import HandlerForm, MethodOptions, MethodSpec, Pattern, ServiceSpec, service_spec
from aster._shapes import Shape

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "conformance" / "vectors"
CONTRACTS = json.loads((VECTORS / "contracts.json").read_text())["contracts"]
VALUES = json.loads((VECTORS / "values.json").read_text())
BY_NAME = {each["name"]: each for each in CONTRACTS}


class Builder:
    """Makes Python types as a user would write them, from a description."""

    def __init__(self, types: List[Dict[str, Any]]) -> None:
        self.definitions = {each["tag"]: each for each in types}
        self.names: Dict[str, Any] = {}
        self._python_names: Dict[str, str] = {}

    def shape(self, given: Dict[str, Any]) -> Shape:
        annotation = self.annotation(given)
        return Reflection(self.names).shape(annotation, "T", Scope({}, self.names))

    def annotation(self, given: Dict[str, Any]) -> Any:
        kind = given["t"]
        if kind == "list":
            return (Set if given.get("unique") else List)[self.annotation(given["item"])]
        if kind == "tuple":
            return Tuple[tuple(self.annotation(each) for each in given["items"])] if given["items"] else Tuple[()]
        if kind == "map":
            return Dict[self.annotation(given["key"]), self.annotation(given["value"])]  # type: ignore[misc]
        if kind == "nullable":
            return Optional[self.annotation(given["item"])]
        if kind == "ref":
            return self._named(given["tag"])
        if kind in SCALARS:
            return SCALARS[kind]
        number = float if kind.startswith("f") else int
        return Annotated[number, Number(kind)]

    def _named(self, tag: str) -> str:
        """The Python name of a type, as a forward reference; the type is made on the way."""
        if tag in self._python_names:
            return self._python_names[tag]
        name = self._python_names[tag] = f"Type{len(self._python_names)}"
        given = self.definitions[tag]
        if given["kind"] == "enum":
            self.names[name] = wire_type(tag)(
                enum.Enum(name, {each: index for index, each in enumerate(given["values"])})
            )
        elif given["kind"] == "union":
            members = tuple(self._named(each) for each in given["members"])
            self.names[name] = Annotated[Union[members], wire_type(tag)]  # type: ignore[valid-type]
        else:
            fields: List[Any] = []
            for each in sorted(given["fields"], key=lambda each: not each.get("required")):
                hint = self.annotation(each["type"])
                if each.get("nullable"):
                    hint = Optional[hint]
                # The default itself is not part of the contract, only that there is one.
                default = dataclasses.field()
                if not each.get("required"):
                    default = dataclasses.field(default_factory=lambda each=each: self._default(each))
                fields.append((each["name"], hint, default))
            self.names[name] = wire_type(tag)(dataclasses.make_dataclass(name, fields))
        return name

    def _default(self, field: Dict[str, Any]) -> Any:
        """Some value of a field's type."""
        kind = field["type"]["t"]
        if field.get("nullable") or kind in ("any", "null", "nullable"):
            return None
        if kind == "timestamp":
            return datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
        if kind == "ref":
            made = self.names[self._python_names[field["type"]["tag"]]]
            return next(iter(made)) if isinstance(made, enum.EnumMeta) else made()
        if kind == "list":
            return set() if field["type"].get("unique") else []
        return {"map": dict, "string": str, "bytes": bytes, "bool": bool, "f32": float, "f64": float}.get(kind, int)()


SCALARS = {
    "null": None,
    "bool": bool,
    "string": str,
    "bytes": bytes,
    "any": Any,
    "f64": float,
    "i64": int,
    "timestamp": datetime.datetime,
    "duration": datetime.timedelta,
    "uuid": uuid.UUID,
}


def spec_of(description: Dict[str, Any]) -> ServiceSpec:
    builder = Builder(description.get("types", []))
    methods = [
        MethodSpec(
            name=each["name"],
            attribute=each["name"],
            options=MethodOptions(Pattern(each["pattern"]), idempotent=each.get("idempotent", False)),
            form=HandlerForm.COROUTINE,
            request=builder.shape(each["request"]),
            response=builder.shape(each["response"]),
            parameters=None,
            request_parameter="req",
            context_parameter=None,
            doc="",
        )
        for each in description["methods"]
    ]
    session = description.get("scope") == "session"
    spec = ServiceSpec(object, description["name"], description["version"], session, None, "msgpack", (), {}, {})
    spec._methods = tuple(methods)
    return spec


@pytest.mark.parametrize("name", list(BY_NAME))
def test_K1_python_types_have_the_ids_of_the_shared_table(name: str) -> None:
    case = BY_NAME[name]
    described = describe_service(spec_of(case["description"]))
    described.pop("manifest")
    assert _native.Contract(msgspec.msgpack.encode(described)).id == case["id"]


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"guide_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("chapter", "cls", "case"),
    [
        (1, "MissionControl", "MissionControl of the guide's chapter 1"),
        (3, "MissionControl", "MissionControl of the guide's chapter 3"),
        (4, "AgentSession", "AgentSession of the guide's chapter 4"),
    ],
)
@pytest.mark.skipif(sys.version_info < (3, 10), reason="chapter 4 as printed needs 3.10")
def test_K1_services_of_the_guide_have_the_ids_of_the_shared_table(chapter: int, cls: str, case: str) -> None:
    module = _load(ROOT / "examples" / "python" / "mission_control" / f"chapter{chapter}" / "control.py")
    assert contract_of(service_spec(getattr(module, cls))).id == BY_NAME[case]["id"]


def test_K1_plain_parameters_have_the_id_of_the_shared_table() -> None:
    @service
    class Adder:
        @rpc
        async def add(self, a: int, b: int) -> int:
            return a + b

    assert contract_of(service_spec(Adder)).id == BY_NAME["plain parameters"]["id"]


def test_K1_documentation_timeouts_and_defaults_do_not_change_the_id() -> None:
    @wire_type("k/Req")
    @dataclasses.dataclass
    class Req:
        a: int = 1

    @wire_type("k/Req")
    @dataclasses.dataclass
    class SameReq:
        """Documented."""

        a: int = 2

    @service(name="Same")
    class One:
        @rpc
        async def m(self, req: Req) -> None: ...

    @service(name="Same", metadata={"team": "x"})
    class Two:
        """Documented."""

        @rpc(timeout=3, metadata={"k": "v"})
        async def m(self, req: SameReq) -> None:
            """Documented."""

    one, two = contract_of(service_spec(One)), contract_of(service_spec(Two))
    assert one.id == two.id
    manifest = msgspec.msgpack.decode(two.describe())["manifest"]
    assert manifest["doc"] == "Documented."
    assert manifest["metadata"] == {"team": "x"}
    assert manifest["methods"]["m"] == {"doc": "Documented.", "timeout_ms": 3000, "metadata": {"k": "v"}}
    assert manifest["types"]["k/Req"] == {"doc": "Documented.", "fields": {"a": {"default": 2}}}


# ---------------------------------------------------------------- values

VALID = [each for each in VALUES["valid"] if each.get("mode", "receive") == "receive"]


def contract_for(given: Dict[str, Any]) -> _native.Contract:
    method = {"name": "m", "pattern": "unary", "request": given, "response": {"t": "null"}}
    description = {"name": "S", "version": 1, "methods": [method], "types": VALUES["types"]}
    return _native.Contract(msgspec.msgpack.encode(description))


def beyond_microseconds(case: Dict[str, Any]) -> bool:
    """Python's times have microseconds, so nanoseconds below that are cut off."""
    digits = case["json"].split(".")[-1].rstrip('Zs"')
    return "stamp" in case["name"] or "duration" in case["name"] or len(digits) > 6


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["name"])
def test_K1_shared_values_survive_python_codecs(case: Dict[str, Any]) -> None:
    payload, contract = bytes.fromhex(case["msgpack"]), contract_for(case["type"])
    dynamic = Codec(read_methods(msgspec.msgpack.decode(contract.describe()))["m"].request, dynamic=True)
    typed = Codec(Builder(VALUES["types"]).shape(case["type"]))
    plain = msgspec.msgpack.decode(payload)
    for made in (dynamic, typed):
        try:
            value = made.decode(payload)
        except TypeError:
            # A set of lists or dicts is a value of the contract, and none of Python's `set`.
            assert "set" in json.dumps(case["name"])
            continue
        if beyond_microseconds(case):
            continue
        again = made.encode(value)
        _native.check(contract, "m", "request", again, True)
        read = msgspec.msgpack.decode(again)
        if made is dynamic and plain == plain:
            assert read == plain


@pytest.mark.parametrize(
    "case", [each for each in VALUES["invalid"] if "msgpack" in each], ids=lambda case: case["name"]
)
def test_K1_shared_invalid_values_are_refused_with_the_shared_text(case: Dict[str, Any]) -> None:
    if case["type"].get("t") is None:
        pytest.skip("not one type")
    sends = case.get("mode") == "send"
    with pytest.raises(ValueError, match=r".") as caught:
        _native.check(contract_for(case["type"]), "m", "request", bytes.fromhex(case["msgpack"]), sends)
    assert str(caught.value) == case["error"]
