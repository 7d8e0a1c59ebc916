"""Workers on the machines of a Ray cluster: stateful actors, one for so many GPUs.

Nothing is bound to an actor, and Ray repeats no call: the pool gives one that was lost with its node to another actor.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from typing import Any

from agent.errors import WorkersError
from agent.pool.resident import Loaded, NothingLoadedError, Resident
from agent.pool.workers import Worker, WorkerLostError
from probes.doors import brief
from probes.errors import SettingsError
from probes.presets import SubjectSource

POLL_S = 5.0
"""Between looks at the cluster for machines that have come, in seconds."""
PATIENCE_S = 300.0
"""Without any worker, in seconds."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's own advice; without it it warns of the change
}


class RayWorker:
    """An actor that holds a subject; Ray makes it anew where its process or its node is lost."""

    comes_back = True

    def __init__(self, name: str, source: SubjectSource, n_gpus: float, n_cpus: float) -> None:
        import ray

        self.name = name
        self._ray = ray
        self._source = source
        options = {"num_gpus": n_gpus, "num_cpus": n_cpus, "max_restarts": -1, "max_task_retries": 0}
        self._actor = ray.remote(Resident).options(**options, scheduling_strategy="SPREAD").remote(in_cluster=True)

    async def arrive(self) -> None:
        """Waits until the cluster has room for it. Raises WorkerLostError."""
        await self._result(self._actor.process_id.remote())

    async def load(self) -> Loaded:
        """Loads the subject. Raises WorkerLostError and SubjectError."""
        loaded: Loaded = await self._result(self._actor.load.remote(self._source))
        return loaded

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns `function(subject, *arguments)`. Raises what it raises, and WorkerLostError."""
        return await self._result(self._actor.call.remote(function, *arguments))

    async def close(self) -> None:
        """Ends the actor, whatever it has in hand: nobody waits for it."""
        self._ray.kill(self._actor)

    async def _result(self, reference: Any) -> Any:
        try:
            return await reference
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, NothingLoadedError):
                raise WorkerLostError("its process began anew") from None
            raise error.cause from None
        except self._ray.exceptions.RayError as error:  # of the actor, its node, or a result that was lost with it
            raise WorkerLostError(f"Ray's {type(error).__name__}") from None


class RayActors:
    """As many workers as a cluster has room for; more as it grows."""

    patience_s: float | None = PATIENCE_S

    def __init__(self, source: SubjectSource, address: str, gpus_per_worker: float | None) -> None:
        """Connects to the cluster at `address`; `auto` is the one of this machine, `local` one of its own.

        `gpus_per_worker` None: 1 where the cluster has GPUs, else 0. Workers without a GPU have all cores of the
        smallest machine. Raises SettingsError and WorkersError.
        """
        self._address = address
        self._ray = connected(address)
        has_gpus = any(_has(node, "GPU") for node in self._nodes())
        self._n_gpus = float(has_gpus) if gpus_per_worker is None else gpus_per_worker
        cores = [_has(node, "CPU") for node in self._nodes() if _has(node, "CPU")]
        # the device that was asked for is this process's own; a worker has the GPUs that Ray gives it
        self._source = source.model_copy(update={"device": "auto" if self._n_gpus else "cpu"})
        self._n_cpus = 0 if self._n_gpus else int(min(cores, default=1))
        self.n_expected = self._capacity()
        if not self.n_expected:
            self.close()
            raise WorkersError(
                f"The Ray cluster at {address} has no machine with {self._n_gpus:g} GPUs for a worker; give a smaller "
                "--gpus-per-worker, 0 for workers without."
            )

    async def workers(self) -> AsyncIterator[Worker]:
        """Yields workers for all that the cluster has, and for what it gets later."""
        n = 0
        while True:
            capacity = await asyncio.to_thread(self._capacity)
            while n < capacity:
                n += 1
                yield RayWorker(str(n), self._source, self._n_gpus, self._n_cpus)
            await asyncio.sleep(POLL_S)

    def close(self) -> None:
        """Leaves the cluster."""
        self._ray.shutdown()

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _capacity(self) -> int:
        """Returns the number of workers that all nodes have room for."""
        if self._n_gpus:
            return sum(int(_has(node, "GPU") / self._n_gpus) for node in self._nodes())
        return sum(int(_has(node, "CPU") / self._n_cpus) for node in self._nodes())

    def __str__(self) -> str:
        each = f"{self._n_gpus:g} GPUs" if self._n_gpus else f"{self._n_cpus} CPUs"
        return f"Ray at {self._address}: {self.n_expected} workers, {each} each"


def connected(address: str) -> Any:
    """Connects to a cluster, quietly, and returns Ray. Raises SettingsError and WorkersError."""
    if find_spec("ray") is None:
        raise SettingsError("--ray needs Ray: pip install 'sae-interpret[ray]'.")
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    more = {"include_dashboard": False} if address == "local" else {}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **more)
        signal.signal(signal.SIGTERM, on_sigterm)  # in place of Ray's, which prints its stack
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise WorkersError(
            f"There is no Ray cluster to work on at {address} ({brief(error)}); start one, or give --ray local."
        ) from None
    return ray


def _has(node: dict[str, Any], resource: str) -> float:
    return float(node["Resources"].get(resource, 0))
