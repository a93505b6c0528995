"""All faults by name: what each does, and what it excuses."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.chaos import database_faults, faults, rude
from tests.chaos.plan import PlannedFault
from tests.chaos.stage import Stage
from tests.chaos.surroundings import COMPILER

Inflict = Callable[[Stage, PlannedFault], Awaitable[None]]
POSTGRESQL: Final = ("postgresql",)
BOTH: Final = ("postgresql", "sqlite")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault; `inflict` returns when it is over."""

    inflict: Inflict
    databases: tuple[str, ...] = BOTH
    delays_revocation: bool = False
    """Whether a server cannot know meanwhile that a right has ended."""
    needs: str = ""
    """A clock that can be set, or a small disk."""


KINDS: Mapping[str, Kind] = {
    "postgresql-stopped": Kind(database_faults.stop_database, POSTGRESQL, True),
    "postgresql-killed": Kind(database_faults.kill_database, POSTGRESQL, True),
    "backend-killed": Kind(database_faults.kill_backend, POSTGRESQL, True),
    "connections-terminated": Kind(database_faults.terminate_connections, POSTGRESQL, True),
    "postgresql-frozen": Kind(database_faults.freeze_database, POSTGRESQL, True),
    "feed-cut": Kind(database_faults.cut_feed, POSTGRESQL, True),
    "feed-half-open": Kind(database_faults.silence_feed, POSTGRESQL, True),
    "database-half-open": Kind(database_faults.silence_database, POSTGRESQL, True),
    "failover": Kind(database_faults.fail_over, POSTGRESQL, True),
    "failover-after-crash": Kind(database_faults.fail_over_after_crash, POSTGRESQL, True),
    "pool-full": Kind(database_faults.fill_pool, POSTGRESQL, True),
    "transaction-open": Kind(database_faults.leave_transaction_open, POSTGRESQL),
    "database-locked": Kind(database_faults.lock_database, ("sqlite",), True),
    "disk-full": Kind(database_faults.fill_disk, BOTH, True, needs="disk"),
    "worker-killed": Kind(faults.kill_worker),
    "worker-frozen": Kind(faults.freeze_worker, delays_revocation=True),
    "server-frozen": Kind(faults.freeze_server, delays_revocation=True),
    "workers-restarted": Kind(faults.restart_workers),
    "servers-restarted": Kind(faults.restart_servers),
    "nginx-reloaded": Kind(faults.reload_nginx),
    "nginx-killed": Kind(faults.kill_nginx),
    "clients-stuck": Kind(rude.be_stuck),
    "clients-vanished": Kind(rude.vanish),
    "server-clock-stepped": Kind(faults.step_server_clock, needs="clock"),
    "database-clock-stepped": Kind(faults.step_database_clock, POSTGRESQL, needs="clock"),
}


def kinds_for(database: str, *, has_disk: bool) -> tuple[list[str], list[str]]:
    """Return the kinds that can be inflicted here, and why others cannot, a line each."""
    present, absent = [], []
    for name, kind in KINDS.items():
        if database not in kind.databases:
            continue
        if kind.needs == "clock" and COMPILER is None:
            absent.append(f"{name} is left out: there is no C compiler, cc")
        elif kind.needs == "disk" and not has_disk:
            absent.append(f"{name} is left out: nobody may mount a tmpfs here")
        else:
            present.append(name)
    return present, absent
