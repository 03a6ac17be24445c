# control.py
from dataclasses import dataclass
from aster import AsterServer, service, rpc, wire_type


@wire_type("mission/StatusRequest")
@dataclass
class StatusRequest:
    agent_id: str = ""


@wire_type("mission/StatusResponse")
@dataclass
class StatusResponse:
    agent_id: str = ""
    status: str = "idle"
    uptime_secs: int = 0


@service(name="MissionControl", version=1)
class MissionControl:
    @rpc()
    async def getStatus(self, req: StatusRequest) -> StatusResponse:
        return StatusResponse(
            agent_id=req.agent_id,
            status="running",
            uptime_secs=3600,
        )


async def main():
    async with AsterServer(services=[MissionControl()]) as srv:
        print(srv.address)  # compact aster1... address
        await srv.serve()


if __name__ == "__main__":
    import asyncio
    asyncio.run(main())
