"""C6: the exceptions."""

from __future__ import annotations

import inspect
import pickle

import pytest

import aster
from aster import AsterError, DeadlineExceeded, NotFound, PermissionDenied, RpcError, StatusCode, _errors, _native
from aster._errors import error_class, error_from_status


def test_C6_codes_are_those_of_the_core() -> None:
    assert {code.name: int(code) for code in StatusCode} == _native.CODES


def test_C6_one_root_and_a_class_per_code() -> None:
    classes = [each for _, each in inspect.getmembers(_errors, inspect.isclass) if issubclass(each, Exception)]
    errors = [each for each in classes if each.__module__ == "aster._errors" and not issubclass(each, Warning)]
    assert len(errors) > 20
    assert all(issubclass(each, AsterError) for each in errors)
    for code in StatusCode:
        if code is not StatusCode.OK:
            assert error_class(code).default_code is code
            assert error_class(code).__name__ in aster.__all__
    assert aster.AccessDenied is PermissionDenied


@pytest.mark.parametrize("code", [code for code in StatusCode if code is not StatusCode.OK])
def test_C6_status_becomes_its_class_and_the_root_catches_it(code: StatusCode) -> None:
    status = (
        int(code),
        "what happened",
        b"\x81\xa1a\x01",
        {"i": "1"},
        {"t": b"2"},
        "server",
        False,
        1500,
        "S.m at aster1x",
    )
    with pytest.raises(AsterError) as caught:
        raise error_from_status(status)
    error = caught.value
    assert type(error) is error_class(code)
    assert (error.code, error.message, error.details) == (code, "what happened", {"a": 1})
    assert error.metadata == {"i": "1", "t": b"2"}
    assert (error.origin, error.may_have_run, error.retry_after, error.context) == (
        "server",
        False,
        1.5,
        "S.m at aster1x",
    )
    assert str(error) == f"{code.name}: what happened [S.m at aster1x]"


def test_C6_unknown_codes_and_odd_details_survive() -> None:
    error = error_from_status((77, "new", b"\xc1", {}, {}, "server", True, None, ""))
    assert (error.code, error.code_number, error.details) == (StatusCode.UNKNOWN, 77, b"\xc1")
    assert "77" in str(error)


def test_C6_short_form_and_pickling() -> None:
    error = NotFound("no agent", details=[1])
    assert (error.code, error.message, str(error)) == (StatusCode.NOT_FOUND, "no agent", "NOT_FOUND: no agent")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is NotFound
    assert (again.message, again.details) == ("no agent", [1])
    assert isinstance(RpcError(StatusCode.ABORTED, "x").code, StatusCode)
    with pytest.raises(ValueError, match="not an error"):
        RpcError(0, "fine")
    with pytest.raises(TypeError, match="either a message"):
        RpcError("a", "b")


def test_C6_deadline_is_a_timeout() -> None:
    import asyncio

    assert issubclass(DeadlineExceeded, asyncio.TimeoutError)
    assert str(DeadlineExceeded("late")) == "DEADLINE_EXCEEDED: late"
    assert pickle.loads(pickle.dumps(DeadlineExceeded("late"))).message == "late"
