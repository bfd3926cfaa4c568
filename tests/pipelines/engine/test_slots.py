"""Which steps run at once on a machine of four cores, 8 GiB and two GPUs, and what a machine is found to have."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import pytest

from trainwright_pipelines.engine.machine import Machine, cgroup_limit, this_machine, usable_cores, visible_gpus
from trainwright_pipelines.engine.slots import Opening, Share, Slots
from trainwright_pipelines.ir.resources import Resources

GIB = 2**30
MACHINE = Machine(cores=4, memory_bytes=8 * GIB, gpus=("0", "3"))
NOTHING = Resources()


def gpu(count: int, kind: str = "nvidia.com/gpu") -> Resources:
    return Resources(accelerator=kind, accelerator_count=count)


class Steps:
    """Steps that ask in order, and end when told."""

    def __init__(self, *asked: Resources, max_parallel: int = 4) -> None:
        self.slots = Slots(max_parallel, lambda: MACHINE)
        self.running: dict[int, Share] = {}
        self.ends = [asyncio.Event() for _ in asked]
        self.tasks = [asyncio.create_task(self._step(index, each)) for index, each in enumerate(asked)]

    async def _step(self, index: int, asked: Resources) -> None:
        async with self.slots.take(asked) as self.running[index]:
            try:
                await self.ends[index].wait()
            finally:
                del self.running[index]

    async def now(self, *ended: int, canceled: int | None = None) -> list[int]:
        """Those that run once some have ended, or one was canceled."""
        for index in ended:
            self.ends[index].set()
        if canceled is not None:
            self.tasks[canceled].cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        return sorted(self.running)


def at_once(*asked: Resources, max_parallel: int = 4) -> list[int]:
    async def look() -> list[int]:
        return await Steps(*asked, max_parallel=max_parallel).now()

    return asyncio.run(look())


@pytest.mark.parametrize(
    ("asked", "running"),
    [
        ([NOTHING] * 6, [0, 1, 2, 3]),
        ([Resources(cpu_request=1.5)] * 3, [0, 1]),
        ([Resources(cpu_request=0.1)] * 5, [0, 1, 2, 3]),
        ([Resources(cpu_limit=3), Resources(cpu_request=1, cpu_limit=4), NOTHING], [0, 1, 2]),
        ([Resources(memory_request_bytes=5 * GIB), Resources(memory_limit_bytes=4 * GIB)], [0]),
        ([Resources(memory_request_bytes=4 * GIB), Resources(memory_limit_bytes=4 * GIB)], [0, 1]),
        ([gpu(1), gpu(1, "NVIDIA_L4"), gpu(1)], [0, 1]),
        ([gpu(2), gpu(1)], [0]),
        ([Resources(cpu_request=3), Resources(cpu_request=4), NOTHING], [0]),
        ([NOTHING, Resources(memory_limit_bytes=9 * GIB), NOTHING], [0]),
        ([Resources(cpu_request=5), NOTHING], [0]),
        ([gpu(1, "cloud-tpus.google.com/v3"), NOTHING], [0]),
        ([Resources(accelerator_count=9), Resources(accelerator="nvidia.com/gpu")], [0, 1]),
    ],
)
def test_steps_run_at_once_where_their_requests_fit(asked: list[Resources], running: list[int]) -> None:
    assert at_once(*asked) == running


def test_twenty_tenths_of_a_core_are_two_cores() -> None:
    assert at_once(*[Resources(cpu_request=0.2)] * 20, max_parallel=99) == list(range(20))


def run(steps: Coroutine[object, object, None]) -> None:
    asyncio.run(steps)


def test_a_large_step_is_not_overtaken_for_ever() -> None:
    async def look() -> None:
        steps = Steps(Resources(cpu_request=1), Resources(cpu_request=4), Resources(cpu_request=1), NOTHING)
        assert await steps.now() == [0]
        assert await steps.now(0) == [1]
        assert await steps.now(1) == [2, 3]

    run(look())


def test_a_step_that_is_canceled_holds_up_nobody() -> None:
    async def look() -> None:
        steps = Steps(NOTHING, Resources(cpu_request=9), NOTHING, Resources(cpu_request=4))
        assert await steps.now(canceled=1) == [0, 2, 3]
        assert await steps.now(canceled=3) == [0, 2]
        late = Steps(Resources(cpu_request=4), Resources(cpu_request=4))
        await late.now()
        late.ends[0].set()
        late.tasks[1].cancel()
        assert await late.now() == []

    run(look())


def test_iterations_open_while_fewer_steps_wait_than_could_run() -> None:
    """Inner loops before those around them; what waits for something else than a slot keeps none from opening."""

    async def look() -> None:
        steps = Steps(*[NOTHING] * 2, max_parallel=2)
        opened: list[str] = []
        at_work: dict[str, Opening] = {}

        async def iterate(name: str, depth: int) -> None:
            at_work[name] = opening = await steps.slots.open(depth)
            opening.enter()
            opened.append(name)

        waiting = [asyncio.create_task(iterate(f"outer {index}", 0)) for index in range(4)]
        await steps.now()
        assert opened == ["outer 0", "outer 1"]
        waiting += [asyncio.create_task(iterate(f"inner {index}", 3)) for index in range(2)]
        await steps.now()
        at_work["outer 0"].arrive()
        at_work["outer 0"].arrive()
        await steps.now()
        assert opened[2:] == ["inner 0"]
        waiting[2].cancel()
        late = asyncio.create_task(steps._step(0, NOTHING))
        await steps.now()
        at_work["outer 1"].arrive()
        at_work["inner 0"].arrive()
        await steps.now()
        assert opened[3:] == ["inner 1"]  # one step waits for a slot, and this one is on its way to it
        steps.ends[0].set()
        await steps.now()
        assert opened[4:] == ["outer 3"]
        for each in (late, *steps.tasks, *waiting):
            each.cancel()

    run(look())


def test_each_step_has_gpus_of_its_own() -> None:
    async def look() -> None:
        steps = Steps(gpu(1), NOTHING, gpu(1), gpu(2), gpu(3))
        await steps.now()
        assert [each.gpus for each in steps.running.values()] == [("0",), None, ("3",)]
        await steps.now(0, 1, 2)
        assert [(each.gpus, each.lacks) for each in steps.running.values()] == [(("0", "3"), "")]
        await steps.now(3)
        lacks = "asks for 3 nvidia.com/gpu, and this machine has 2 nvidia.com/gpu"
        assert [(each.gpus, each.lacks) for each in steps.running.values()] == [(None, lacks)]

    run(look())


def test_all_that_a_machine_lacks_is_told() -> None:
    asked = Resources(cpu_request=8, memory_limit_bytes=999 * 10**9, accelerator="amd.com/gpu", accelerator_count=8)
    wanted, has = "8 cores, 930.4 GiB of memory and 8 amd.com/gpu", "4 cores, 8 GiB and no amd.com/gpu"
    assert MACHINE.lacks(asked) == f"asks for {wanted}, and this machine has {has}"
    assert MACHINE.lacks(Resources(cpu_request=4, memory_limit_bytes=8 * GIB)) == ""


V1 = "12:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n"


def test_limits_of_control_groups_are_those_of_the_machine(tmp_path: Path) -> None:
    for name, content in {
        "v2/memory.max": "max\n",
        "v2/a/memory.max": "2147483648\n",
        "v2/a/b/memory.max": "4294967296\n",
        "v2/a/b/cpu.max": "150000 100000\n",
        "v2/a/cpu.max": "max 100000\n",
        "v1/memory/memory.limit_in_bytes": "1073741824\n",
        "v1/cpu/docker/abc/cpu.cfs_quota_us": "50000\n",
        "v1/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
        "v1/cpu/cpu.cfs_quota_us": "-1\n",
        "v1/cpu/cpu.cfs_period_us": "100000\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    of = {
        (version, controller): cgroup_limit(groups, controller, tmp_path / version)
        for version, groups in (("v2", "0::/a/b\n"), ("v1", V1))
        for controller in ("memory", "cpu")
    }
    assert of == {("v2", "memory"): 2 * GIB, ("v2", "cpu"): 1.5, ("v1", "memory"): GIB, ("v1", "cpu"): 0.5}
    assert cgroup_limit("0::/elsewhere\n", "memory", tmp_path / "none") is None


def test_the_gpus_are_those_that_this_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("0000:01:00.0", "0000:81:00.0"):
        (tmp_path / name).mkdir()
    assert visible_gpus(tmp_path) == ("0", "1")
    for given, seen in {"": (), "2,3": ("2", "3"), "1,-1,2": ("1",), "GPU-8a": ("GPU-8a",)}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert visible_gpus() == seen


def test_this_machine_has_at_least_what_runs_this_test() -> None:
    found = this_machine()
    assert 0 < found.cores <= usable_cores()
    assert found.memory_bytes > GIB / 4
