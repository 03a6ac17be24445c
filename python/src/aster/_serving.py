"""What a server, or a client that offers services, is given to serve: checked, and made ready for a loop."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Callable, Mapping, Optional, Sequence

from . import _native
from ._dispatch import Dispatcher, SessionFactory
from ._errors import ConfigurationError, UsageError
from ._proxy import contract_of
from ._service import ServiceSpec, service_spec

__all__ = ["Serving"]


class Serving:
    """Services with the options of how they are served."""

    def __init__(
        self,
        who: str,
        services: Sequence[Any],
        factories: Optional[Mapping[type, Callable[..., Any]]],
        threads: Optional[int],
        expose_errors: bool,
    ) -> None:
        if isinstance(services, (str, bytes)) or not hasattr(services, "__iter__"):
            raise UsageError(f"services= is a list of service instances, and got {services!r}")
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ConfigurationError(f"threads= is a whole number from 1, and got {threads!r}")
        self._who = who
        self._services = list(services)
        self._factories = dict(factories or {})
        self._threads = threads
        self._expose = bool(expose_errors)

    def on(self, loop: asyncio.AbstractEventLoop) -> tuple[list[_native.ServedService], Dispatcher]:
        """What to tell the core, and what takes the calls on this loop. Raises for what cannot be served."""
        prepared = [self._prepare(each) for each in self._services]
        self._check_names([spec for spec, _, _ in prepared])
        dispatcher = Dispatcher(loop, self._threads, self._expose)
        served = []
        for spec, instance, factory in prepared:
            dispatcher.add(spec, instance, factory)
            served.append(_native.ServedService(contract_of(spec), self._expose))
        return served, dispatcher

    def _prepare(self, service: Any) -> tuple[ServiceSpec, Any, Optional[SessionFactory]]:
        spec = service_spec(service)
        where = f"the service {spec.name}"
        for method in spec.methods:
            if method.options.requires is not None:
                raise ConfigurationError(
                    f"{where} does not start: {spec.name}.{method.name} has requires=, and this version of Aster cannot check "
                    "capabilities yet, so it would be open to everybody; remove requires= to serve it openly"
                )
        if spec.requires is not None:
            raise ConfigurationError(
                f"{where} does not start: @service({spec.name}) has requires=, and this version of Aster cannot check capabilities yet, "
                f"so {spec.name}.{spec.methods[0].name} and the rest would be open to everybody; remove requires= to serve it openly"
            )
        if spec.interceptors:
            raise ConfigurationError(
                f"{where} does not start: it has interceptors=, which this version of Aster does not run yet; remove interceptors="
            )
        if not spec.session:
            if isinstance(service, type):
                raise ConfigurationError(
                    f"{where} is shared, so services= takes an instance of it: {service.__qualname__}()"
                )
            return spec, service, None
        cls = service if isinstance(service, type) else type(service)
        return spec, None, self._session_factory(cls, where)

    def _session_factory(self, cls: type, where: str) -> SessionFactory:
        maker: Callable[..., Any] = self._factories.get(cls, cls)
        try:
            signature = inspect.signature(maker)
        except ValueError:  # a constructor in C
            return lambda peer: maker()
        takes_peer = "peer" in signature.parameters or any(
            each.kind is inspect.Parameter.VAR_KEYWORD for each in signature.parameters.values()
        )
        try:
            signature.bind(**({"peer": ""} if takes_peer else {}))
        except TypeError as error:
            raise ConfigurationError(
                f"{where} makes an instance of {cls.__qualname__} for each session, and its constructor cannot be called with "
                f"{'peer= alone' if takes_peer else 'no arguments'} ({error}); give "
                f"{self._who}(factories={{{cls.__qualname__}: lambda peer: ...}})"
            ) from error
        return (lambda peer: maker(peer=peer)) if takes_peer else (lambda peer: maker())

    def _check_names(self, specs: list[ServiceSpec]) -> None:
        seen: dict[tuple[str, int], ServiceSpec] = {}
        for spec in specs:
            other = seen.setdefault((spec.name, spec.version), spec)
            if other is not spec:
                raise ConfigurationError(
                    f"{other.cls.__qualname__} and {spec.cls.__qualname__} are both {spec.name} version {spec.version}; "
                    "give one of them another name or version"
                )
        if len(specs) != len(seen):
            raise ConfigurationError("services= has one service twice; leave one out")
        unused = [
            cls.__qualname__ for cls in self._factories if cls not in {spec.cls for spec in specs if spec.session}
        ]
        if unused:
            raise ConfigurationError(
                f"factories= names {', '.join(unused)}, which is not a session service in services="
            )
