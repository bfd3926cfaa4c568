"""A cluster of processes on this machine, forked from a warm parent: it starts at once and dies with whoever asked."""

import contextlib
import selectors
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from trainwright_components.cluster.heartbeats import remove_heartbeats
from trainwright_components.cluster.launchers.member_logs import GangOnThisMachine
from trainwright_components.cluster.launchers.protocol import THREADS_VARIABLE, ClusterJob, Gang, Launcher
from trainwright_components.cluster.spec import Member
from trainwright_components.cluster.tf_config import VARIABLE, build_tf_config
from trainwright_components.processes.child import WarmChild
from trainwright_components.processes.ending import AFTER_KILL_S
from trainwright_components.processes.ports import HeldPorts
from trainwright_components.processes.warm_parent import WarmParent

_PRELOAD = ("tensorflow", "keras")
_POLL_S = 0.2


@dataclass(kw_only=True)
class LocalProcesses:
    """Starts members as children of a warm process; use as a context manager, since it may own that process.

    Args:
        parent: The warm process; the one this process came from, or a new one, when absent.
    """

    parent: WarmParent | None = None
    _own_parent: WarmParent | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own_parent is not None:
            self._own_parent.close()

    def start(self, job: ClusterJob) -> Gang:
        """Start every member on a port of its own, with an equal part of the processor's cores."""
        parent = self.parent or self._own_parent
        if parent is None:
            parent = self._own_parent = WarmParent.connect_or_start(_PRELOAD)
        gang = LocalGang(job=job, parent=parent, ports=HeldPorts.take(len(job.spec.members)))
        try:
            gang.restart(job.spec.members)
        except BaseException:
            gang.close()
            raise
        return gang


@dataclass(kw_only=True)
class LocalGang(GangOnThisMachine):
    """Children of a warm process, one for each member."""

    parent: WarmParent
    ports: HeldPorts
    children: dict[Member, WarmChild] = field(default_factory=dict)

    def restart(self, members: Collection[Member]) -> None:
        """Start members under their addresses; each one's log goes on in its file."""
        for member in members:
            self._kill(member)
        remove_heartbeats(self.job.folder, members)
        for member in members:
            log = self.logs.files.setdefault(member, self.job.log_of(member))
            self.children[member] = self.parent.spawn(
                self.job.target, self.job.arguments, log=log, env=self._environment(member)
            )

    def _kill(self, member: Member) -> None:
        child = self.children.get(member)
        if child is not None:
            child.kill()
            child.wait()
        self._ended.pop(member, None)

    def _environment(self, member: Member) -> dict[str, str]:
        members = self.job.spec.members
        addresses: dict[str, list[str]] = {}
        for one, address in zip(members, self.ports.addresses, strict=True):
            addresses.setdefault(one.role, []).append(address)
        return {**self.job.env, VARIABLE: build_tf_config(addresses, member), THREADS_VARIABLE: str(self.job.threads)}

    def wait(self, timeout_s: float) -> Mapping[Member, int]:
        """Wait for the next end, and pass on the members' log lines meanwhile."""
        deadline = time.monotonic() + timeout_s
        before = len(self._ended)
        while len(self._ended) == before and time.monotonic() < deadline and len(self._ended) < len(self.children):
            self._wait_a_little(min(_POLL_S, max(0.0, deadline - time.monotonic())))
            self.logs.forward()
        return dict(self._ended)

    def send_signal(self, member: Member, number: int) -> None:
        """Send a signal to one member."""
        self.children[member].send_signal(number)

    def terminate(self) -> None:
        """Ask all members to save and end."""
        for child in self.children.values():
            child.terminate()

    def close(self) -> None:
        """Kill what still runs, and wait until it is gone: a member that lives on would go on writing."""
        for child in self.children.values():
            child.kill()
        for child in self.children.values():
            with contextlib.suppress(TimeoutError):
                child.wait(AFTER_KILL_S)
            child.close()
        self.ports.close()
        self.logs.forward(is_last=True)

    def _wait_a_little(self, timeout_s: float) -> None:
        running = {member: child for member, child in self.children.items() if member not in self._ended}
        with selectors.DefaultSelector() as selector:
            for child in running.values():
                selector.register(child.fileno(), selectors.EVENT_READ)
            selector.select(timeout_s)
        for member, child in running.items():
            code = child.poll()
            if code is not None:
                self._ended[member] = code


if TYPE_CHECKING:
    _launcher: type[Launcher] = LocalProcesses
    _gang: type[Gang] = LocalGang
