"""The measuring loops: those of the peer benchmark when it runs us, our own otherwise.

Beside the peers everybody is measured by the same code; alone, `own_loops` measures by the same rules.
"""

from __future__ import annotations

try:
    from benchlib import announce, exit_with_parent, parse_server, run_async_client
except ModuleNotFoundError:
    from own_loops import announce, exit_with_parent, parse_server, run_async_client

__all__ = ["announce", "exit_with_parent", "parse_server", "run_async_client"]
