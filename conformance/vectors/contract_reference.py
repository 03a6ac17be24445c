#!/usr/bin/env python3
"""A second implementation of docs/spec/contract.md, for the ids in contracts.json here and in ../tables.

It is written from the specification and shares nothing with the core, so that a fault in either shows. It normalises
and hashes valid descriptions only; what is refused, and how, is the core's business.

    contract_reference.py           check the ids, exit 1 if one differs
    contract_reference.py --write   fill in the ids

Needs the packages msgpack and blake3.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import blake3
import msgpack

HERE = Path(__file__).parent
FILES = (HERE / "contracts.json", HERE.parent / "tables" / "contracts.json")
LABEL = b"aster/1 contract\0"

# In the order of their codes, from 0.
SCALARS = ["null", "bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"]
SCALARS += ["string", "bytes", "timestamp", "duration", "uuid", "any"]
PATTERNS = ["unary", "server_stream", "client_stream", "bidi_stream"]
HOLD_NULL = (SCALARS.index("null"), SCALARS.index("any"))
NULLABLE = 36

Type = Any  # an int or a list, as in the canonical form


def type_form(ty: dict[str, Any]) -> Type:
    kind = ty["t"]
    if kind == "list":
        return [33 if ty.get("unique") else 32, type_form(ty["item"])]
    if kind == "tuple":
        return [34, [type_form(item) for item in ty["items"]]]
    if kind == "map":
        return [35, type_form(ty["key"]), type_form(ty["value"])]
    if kind == "nullable":
        item = type_form(ty["item"])
        holds_null = item in HOLD_NULL or (isinstance(item, list) and item[0] == NULLABLE)
        return item if holds_null else [NULLABLE, item]
    if kind == "ref":
        return [37, ty["tag"]]
    return SCALARS.index(kind)


def field_form(field: dict[str, Any]) -> list[Any]:
    ty, nullable = type_form(field["type"]), field.get("nullable", False)
    if isinstance(ty, list) and ty[0] == NULLABLE:
        ty, nullable = ty[1], True
    elif ty in HOLD_NULL:
        nullable = False
    return [field["name"], ty, field.get("required", False), nullable]


def by_bytes(text: str) -> bytes:
    return text.encode()


def definition_form(definition: dict[str, Any]) -> list[Any]:
    tag = definition["tag"]
    if definition["kind"] == "struct":
        fields = [field_form(field) for field in definition["fields"]]
        return [0, tag, sorted(fields, key=lambda field: by_bytes(field[0]))]
    if definition["kind"] == "enum":
        return [1, tag, sorted(definition["values"], key=by_bytes)]
    return [2, tag, sorted(definition["members"], key=by_bytes)]


def references(form: Any) -> list[str]:
    """The tags in a type form, or in the type forms of a struct's fields."""
    if not isinstance(form, list):
        return []
    if len(form) == 2 and form[0] == 37 and isinstance(form[1], str):
        return [form[1]]
    return [tag for part in form for tag in references(part)]


def contract_form(description: dict[str, Any]) -> list[Any]:
    methods = [
        [
            method["name"],
            PATTERNS.index(method["pattern"]),
            type_form(method["request"]),
            type_form(method["response"]),
            method.get("idempotent", False),
        ]
        for method in description["methods"]
    ]
    methods.sort(key=lambda method: by_bytes(method[0]))
    definitions = {definition["tag"]: definition_form(definition) for definition in description.get("types", [])}
    reached: dict[str, list[Any]] = {}
    waiting = [tag for method in methods for tag in references(method[2]) + references(method[3])]
    while waiting:
        tag = waiting.pop()
        if tag in reached:
            continue
        kind, _, parts = reached[tag] = definitions[tag]
        if kind == 0:
            waiting += [inner for field in parts for inner in references(field[1])]
        elif kind == 2:
            waiting += parts
    scope = ["shared", "session"].index(description.get("scope", "shared"))
    types = [reached[tag] for tag in sorted(reached, key=by_bytes)]
    return [1, description["name"], description["version"], scope, methods, types]


def contract_id(description: dict[str, Any]) -> str:
    # msgpack writes the shortest format of every integer, str and array, which is what the canonical form asks for.
    canonical = msgpack.packb(contract_form(description), use_bin_type=True)
    return str(blake3.blake3(LABEL + canonical).hexdigest())


def check(path: Path, write: bool) -> int:
    """How many ids of a file are wrong after this."""
    document = json.loads(path.read_text(encoding="utf-8"))
    wrong = 0
    for entry in document["contracts"]:
        found = contract_id(entry["description"])
        if entry.get("id") != found:
            wrong += 1
            print(f"{path.parent.name}: {entry['name']}: {entry.get('id')} in the file, {found} computed")
        entry["id"] = found
    if wrong and write:
        parts = [f'  "about": {json.dumps(document["about"], ensure_ascii=False)}']
        for key, entries in document.items():
            if key != "about":
                rows = ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
                parts.append(f'  "{key}": [\n{rows}\n  ]')
        path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
        wrong = 0
    print(f"{path.parent.name}: {len(document['contracts'])} contracts, {wrong} wrong")
    return wrong


def main() -> int:
    write = "--write" in sys.argv[1:]
    return 1 if sum(check(path, write) for path in FILES) else 0


if __name__ == "__main__":
    sys.exit(main())
