"""The core's log records as records of the `aster.*` loggers of `logging`."""

from __future__ import annotations

import logging

from . import _native

__all__ = ["install"]


def _emit(records: list[tuple[int, str, str]]) -> None:
    """Called by a port's `drain` with what has gathered; levels are in the numbers of `logging`, 5 for traces."""
    for level, target, text in records:
        # Rust's `aster::conn` is `aster.conn` here; libraries below the core are kept under `aster.core`.
        name = target.replace("::", ".")
        logger = logging.getLogger(name if name.split(".")[0] == "aster" else f"aster.core.{name}")
        if logger.isEnabledFor(level):
            logger.log(level, "%s", text)


def install() -> None:
    """Routes the core's records here, from the level that the logger `aster` has now: what nobody wants to read is
    not made at all. Done again for each port, since a program may configure its logging late."""
    _native.logs_to(_emit, logging.getLogger("aster").getEffectiveLevel())
