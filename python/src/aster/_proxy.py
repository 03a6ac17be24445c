"""Proxies: a remote service as an object. Dynamic ones know methods from the server's contract, typed ones from a class."""

from __future__ import annotations

import asyncio
import difflib
import weakref
from typing import TYPE_CHECKING, Any, Generator, Mapping, Optional, Union

import msgspec

from . import _native
from ._call import Binding, RemoteCall
from ._codec import Codec, codec_for
from ._describe import describe_service, read_methods
from ._errors import AsterError, ContractMismatch, UnknownMethod, UsageError
from ._options import merged
from ._service import Pattern, ServiceSpec
from ._shapes import Shape

if TYPE_CHECKING:
    from types import TracebackType

    from ._peer import PeerServices

__all__ = ["ClientSession", "Proxy", "ServiceLink", "contract_of"]


def contract_of(spec: ServiceSpec) -> _native.Contract:
    """The compiled contract of a service class, made once."""
    contract: Optional[_native.Contract] = spec.cache.get("contract")
    if contract is None:
        try:
            contract = _native.Contract(msgspec.msgpack.encode(describe_service(spec)))
        except ValueError as error:
            raise AsterError(
                f"the service {spec.name} ({spec.cls.__qualname__}) has no valid contract: {error}"
            ) from error
        spec.cache["contract"] = contract
    return contract


class _Method:
    """One method with what a binding needs, from either source."""

    __slots__ = ("codecs", "name", "parameters", "pattern", "request")

    def __init__(
        self,
        name: str,
        pattern: Pattern,
        request: Shape,
        codecs: tuple[Codec, Codec],
        parameters: Optional[tuple[str, ...]],
    ) -> None:
        self.name = name
        self.pattern = pattern
        self.request = request
        self.codecs = codecs
        self.parameters = parameters


_dynamic_methods: dict[str, dict[str, _Method]] = {}
"""Methods read from contracts, by contract id. Contracts never change, so this is read once per process."""


def _methods_of_contract(contract: _native.Contract) -> tuple[bool, dict[str, _Method]]:
    description: Mapping[str, Any] = msgspec.msgpack.decode(contract.describe())
    methods = _dynamic_methods.get(contract.id)
    if methods is None:
        methods = _dynamic_methods[contract.id] = {
            each.name: _Method(
                each.name,
                each.pattern,
                each.request,
                (Codec(each.request, dynamic=True), Codec(each.response, dynamic=True)),
                None,
            )
            for each in read_methods(description).values()
        }
    return description["scope"] == "session", methods


def _methods_of_class(spec: ServiceSpec) -> dict[str, _Method]:
    """By the names that the class has for them."""
    methods: Optional[dict[str, _Method]] = spec.cache.get("client_methods")
    if methods is None:
        methods = spec.cache["client_methods"] = {
            each.attribute: _Method(
                each.name,
                each.pattern,
                each.request,
                (codec_for(each.request), codec_for(each.response)),
                each.parameters,
            )
            for each in spec.methods
        }
    return methods


class ServiceLink:
    """What the methods of one proxy share: contract, session, bindings. Everything is looked up when first needed."""

    def __init__(
        self, client: PeerServices, name: str, version: Optional[int], spec: Optional[ServiceSpec], explicit: bool
    ) -> None:
        self.client = client
        self.name = name
        self.version = version
        self.spec = spec
        self.explicit = explicit
        self.methods: Optional[dict[str, _Method]] = None
        self.session: Optional[_native.Session] = None
        self._contract: Optional[_native.Contract] = None
        self._bindings: dict[str, Binding] = {}
        self._loading: Optional[asyncio.Task[None]] = None
        self._calls: weakref.WeakSet[RemoteCall] = weakref.WeakSet()
        self._session_over = False

    # ------------------------------------------------------------ loading

    async def load(self) -> None:
        """Makes the methods known. Asked for by many at once, it is done once; a failure is tried again next time."""
        if self.methods is not None or self._load_now():
            return
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._load())
            self._loading.add_done_callback(self._loaded)
        # One caller's cancellation is not the others'.
        await asyncio.shield(self._loading)

    def _loaded(self, task: asyncio.Task[None]) -> None:
        self._loading = None
        if not task.cancelled():
            task.exception()  # every waiter got it; nobody may be left

    def _load_now(self) -> bool:
        """A typed client whose contract is the one that the server announced needs to ask nothing."""
        if self.spec is None:
            return False
        native = self.client.require()
        mine = contract_of(self.spec)
        if any((name, version, id) == (mine.name, mine.version, mine.id) for name, version, id, _ in native.services()):
            self._use(mine, self.spec.session, _methods_of_class(self.spec))
            return True
        return False

    async def _load(self) -> None:
        native = self.client.require()
        contract = await native.contract(self.name, self.version)
        if self.spec is None:
            session, methods = _methods_of_contract(contract)
            self._use(contract, session, methods)
            return
        mine = contract_of(self.spec)
        if mine.id != contract.id:
            breaking, _ = mine.compare(contract)
            if breaking:
                error = ContractMismatch(
                    f"the class {self.spec.cls.__qualname__} and the service {contract.name} version {contract.version} at "
                    f"{native.peer} differ: " + "; ".join(breaking) + ". Use the class that the server was started with"
                )
                error.origin, error.may_have_run = "client", False
                raise error
        # The server's contract goes with each call, since the server runs only what matches its own.
        self._use(contract, self.spec.session, _methods_of_class(self.spec))

    def _use(self, contract: _native.Contract, session: bool, methods: dict[str, _Method]) -> None:
        if self.explicit and not session:
            raise UsageError(
                f"{contract.name} is a shared service, so it has no sessions: use client.proxy({contract.name!r}) or client.client(...)"
            )
        if self._session_over:
            raise UsageError(f"this session of {contract.name} is closed; open another with client.session(...)")
        self._contract = contract
        if session and self.session is None:
            self.session = self.client.require().open_session(contract.name, not self.explicit)
        self.methods = methods

    def forget(self) -> None:
        """Looks at the contract again before the next call; the session, if any, stays."""
        self._contract = None
        self.methods = None
        self._bindings.clear()
        for call in list(self._calls):
            call.forget()

    async def close(self) -> None:
        """Ends the session. A proxy's next call begins a new one; an explicit session stays closed."""
        session, self.session = self.session, None
        self.forget()
        self._session_over = self.explicit
        if session is not None:
            await session.close()

    # ------------------------------------------------------------ methods

    def remote_call(self, name: str, given: Optional[dict[str, Any]]) -> RemoteCall:
        """The method of this name; `UnknownMethod` if the methods are known and it is none of them."""
        if self.methods is not None and name not in self.methods:
            raise self._unknown(name)
        if self.spec is not None and name not in _methods_of_class(self.spec):
            raise self._unknown(name)
        call = RemoteCall(name, _Binder(self, name), given)
        self._calls.add(call)
        return call

    def bind_now(self, name: str) -> Optional[Binding]:
        """The binding of a method, if its contract is known."""
        if self.methods is None and not self._load_now():
            return None
        return self._binding(name)

    async def bind_later(self, name: str) -> Binding:
        """The binding of a method, after loading the contract."""
        await self.load()
        return self._binding(name)

    def _binding(self, name: str) -> Binding:
        binding = self._bindings.get(name)
        if binding is None:
            assert self.methods is not None
            assert self._contract is not None
            method = self.methods.get(name)
            if method is None:
                raise self._unknown(name)
            native = self.client.require()
            options: dict[str, Any] = {"dynamic": True} if self.spec is None else {}
            if self.session is not None:
                options["session"] = self.session
            codec = "msgpack" if self.spec is None else self.spec.serialization
            binding = self._bindings[name] = Binding(
                native,
                native.method(self._contract, method.name, codec, contract_of(self.spec) if self.spec else None),
                method.pattern,
                method.request,
                method.codecs,
                options or None,
                method.parameters,
                f"{self.name}.{method.name}",
            )
        return binding

    def _unknown(self, name: str) -> UnknownMethod:
        known = sorted(self.methods if self.methods is not None else _methods_of_class(self.spec) if self.spec else ())
        near = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"its methods are: {', '.join(known)}"
        error = UnknownMethod(f"{self.name} has no method {name!r}; {hint}")
        error.origin, error.may_have_run = "client", False
        return error


class _Binder:
    """What a `RemoteCall` needs of its link."""

    __slots__ = ("_link", "_name")

    def __init__(self, link: ServiceLink, name: str) -> None:
        self._link = link
        self._name = name

    def now(self) -> Optional[Binding]:
        return self._link.bind_now(self._name)

    async def later(self) -> Binding:
        return await self._link.bind_later(self._name)


class Proxy:
    """A remote service. Its attributes are the remote methods; see `RemoteCall` for the call forms.

    It needs no `await`: the contract is fetched by the first call, at the cost of one round trip. `await proxy` fetches it at
    once and gives the same proxy. A method whose name is taken here, or begins with `_`, is reached by `proxy.method(name)`.
    """

    _link: ServiceLink
    _given: Optional[dict[str, Any]]

    def __init__(self, link: ServiceLink, given: Optional[dict[str, Any]] = None) -> None:
        self.__dict__["_link"] = link
        self.__dict__["_given"] = given

    def __getattr__(self, name: str) -> RemoteCall:
        if name.startswith("_"):
            # Without `self` in the text: a copy being made has no link yet.
            raise AttributeError(
                f"a proxy has no attribute {name!r}; a remote method of that name is reached by .method({name!r})"
            )
        call = self._link.remote_call(name, self._given)
        if self._link.methods is not None:
            self.__dict__[name] = call  # known to exist, so it is found without coming here again
        return call

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{self!r} stands for a remote service, and {name!r} cannot be set on it")

    def __await__(self) -> Generator[Any, None, Proxy]:
        yield from self._link.load().__await__()
        return self

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(self._link.methods or ())})

    def __repr__(self) -> str:
        version = "" if self._link.version is None else f" version {self._link.version}"
        return f"<{type(self).__name__} of {self._link.name}{version}>"

    def method(self, name: str) -> RemoteCall:
        """The remote method of this name, whatever it is."""
        return self._link.remote_call(name, self._given)

    def with_options(
        self,
        *,
        timeout: Optional[float] = None,
        metadata: Optional[dict[str, Union[str, bytes]]] = None,
        compress: Optional[bool] = None,
        info: Optional[_native.CallInfo] = None,
    ) -> Proxy:
        """The same service, and the same session, with options for every call made through what is returned."""
        given = {"timeout": timeout, "metadata": metadata, "compress": compress, "info": info}
        return Proxy(self._link, merged(self._given or {}, given))

    async def close(self) -> None:
        """Ends the session that this proxy has with a session service; the next call would begin a new one. Nothing
        happens for a shared service."""
        await self._link.close()


class ClientSession(Proxy):
    """One session of a session service, opened by `client.session(...)` and ended by `close()` or `async with`.

    All its calls reach the same instance on the server, unary ones one after another in the order they are made. It
    does not survive its connection: the next call then fails with `Aborted`.
    """

    async def __aenter__(self) -> ClientSession:
        await self._link.load()
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    @property
    def session_id(self) -> int:
        """This client's number of the session; 0 before its first call."""
        session = self._link.session
        if session is None:
            raise UsageError("the session is not open: enter it by `async with`, or `await` it, first")
        return session.id
