"""The core's log records as records of the `aster.*` loggers of `logging`."""

from __future__ import annotations

import logging

from . import _native

__all__ = ["install"]


def _emit(records: list[tuple[int, str, str]]) -> None:
    """Called by the port's `drain` with what has gathered; must not raise into it, which `logging` sees to."""
    for level, target, text in records:
        # Rust's `aster::conn` is `aster.conn` here; libraries below the core are kept under `aster.core`.
        name = target.replace("::", ".")
        logger = logging.getLogger(name if name.split(".")[0] == "aster" else f"aster.core.{name}")
        if logger.isEnabledFor(level):
            logger.log(level, "%s", text)


def install() -> None:
    """Routes the core's records here; done once, when the first port is made."""
    _native.logs_to(_emit)
