"""Measure how soon viewers have their results again who all come back to a server at once."""

from benchmarks.accounts import Viewer, users
from benchmarks.arms import Arm
from benchmarks.database import Database
from benchmarks.delivery import Meter
from benchmarks.servers import Server
from benchmarks.subscribers import Subscribers
from benchmarks.viewing import ComingBack

TIMEOUT_SECONDS = 60.0


def measure(arm: Arm, server: Server, database: Database, number: int) -> ComingBack:
    """Let so many viewers connect and subscribe at once. The server has just been started."""
    viewers = [Viewer(user) for user in users(number)]
    with Subscribers(server.port, arm.subprotocol, viewers=viewers) as crowd:
        meter = Meter(server, database)
        crowd.connect(number, TIMEOUT_SECONDS, at_once=number)
        used = meter.read()
    return ComingBack(back_seconds=used.seconds, back_us=used.cpu_seconds / number * 1e6)
