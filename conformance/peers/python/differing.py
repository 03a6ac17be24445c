"""Services whose client was made from another declaration than their server."""

from dataclasses import dataclass

from aster import i32, rpc, service, wire_type
from types_shared import Number


@wire_type("conf/Reading")
@dataclass
class Reading:
    value: float
    unit: str = ""


@wire_type("conf/Reading")
@dataclass
class OldReading:
    value: float


@service(name="Drift")
class Drift:
    """What the server has: a method and an optional field more."""

    @rpc
    async def read(self, req: Number) -> Reading:
        return Reading(float(req.n), "V")

    @rpc
    async def reset(self) -> None:
        return None


@service(name="Drift")
class OldDrift:
    @rpc
    async def read(self, req: Number) -> OldReading:
        raise NotImplementedError


@wire_type("conf/Demand")
@dataclass
class Demand:
    n: i32
    unit: str


@wire_type("conf/Demand")
@dataclass
class OldDemand:
    n: i32


@service(name="Clash")
class Clash:
    @rpc
    async def read(self, req: Demand) -> Number:
        return Number(req.n)


@service(name="Clash")
class OldClash:
    @rpc
    async def read(self, req: OldDemand) -> Number:
        raise NotImplementedError
