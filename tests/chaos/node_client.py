"""The npm package graphql-ws as a client, which comes back by itself."""

import asyncio
import json
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tests.chaos.clients import Follower
from tests.protocols import node


class NodeFollower(Follower):
    """Runs `follow.mjs` and hands over what it tells."""

    async def run(self) -> None:
        """Follow as long as the run lasts; all reconnecting is the package's."""
        documents = json.dumps([asked.document for asked in self.inbox.plan.asked])
        process = await create_subprocess_exec(
            node.NODE, "follow.mjs", self._way.websocket, documents,
            cwd=node.FOLDER, stdin=PIPE, stdout=PIPE, limit=1 << 22,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        told = None
        try:
            while True:
                if told != self._cookie:
                    told = self._cookie
                    process.stdin.write(json.dumps(told).encode() + b"\n")
                with suppress(TimeoutError):
                    # Readline takes nothing when it is cancelled.
                    async with asyncio.timeout(0.1):
                        line = await process.stdout.readline()
                    if not line:
                        self._world.violate(f"{self.inbox.name} has ended")
                        return
                    self._take(json.loads(line))
        finally:
            self.inbox.end()
            process.kill()
            await process.communicate()

    @property
    def _cookie(self) -> str:
        return self.inbox.viewer.cookie if self.inbox.viewer.may_connect else ""

    def _take(self, told: Mapping[str, Any]) -> None:
        match told:
            case {"connected": str(cookie)}:
                self._begin(cookie)
            case {"closed": int()}:
                self._world.counts["reconnects"] += self.inbox.is_connected
                self.inbox.end()
            case {"next": result, "of": int(number)}:
                self._oracle.take(self.inbox, self.inbox.plan.asked[number], result)
            case {"error": list(errors)}:
                self._oracle.refuse(self.inbox, errors)
            case _:
                self._world.violate(f"{self.inbox.name} told {told}")

    async def _follow(self, cookie: str) -> None:
        raise NotImplementedError
