"""Finds out from a run's settings where its workers are: in processes on this machine, on a cluster, or nowhere."""

import re
from typing import TYPE_CHECKING

from agent.config import RunConfig
from probes.doors.given import shown
from probes.errors import SettingsError
from probes.presets import SubjectSource

if TYPE_CHECKING:
    from agent.pool.workers import Workforce

ALL = "all"
"""Stands for every GPU of this machine."""

_DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,4})?")


def check_workers(config: RunConfig) -> None:
    """Raises SettingsError if the settings about workers contradict each other; nothing is loaded for it."""
    if config.gpus_per_worker is not None and config.ray is None:
        raise SettingsError("--gpus-per-worker is about the workers of --ray; add that, or leave it out.")
    if config.devices is None:
        return
    if config.ray is not None:
        raise SettingsError("--devices is about this machine, --ray about a cluster; leave one of them out.")
    if config.subject.device_map is not None:
        raise SettingsError("--device-map spreads one model, --devices loads one on each; leave one of them out.")
    if config.subject.device != "auto":
        raise SettingsError("--device names one device, --devices several; leave one of them out.")
    if config.devices != ALL:
        _named(config.devices)


def on_first_device(config: RunConfig) -> SubjectSource:
    """Returns the subject as this process loads it: like the first worker of `--devices`. Raises SettingsError."""
    if config.devices is None:
        return config.subject
    return config.subject.model_copy(update={"device": _devices(config.devices)[0]})


def workforce_of(config: RunConfig, dtype: str) -> "Workforce | None":
    """Returns the workers that the settings ask for; None where this process is to do all itself.

    `dtype` is what this process has loaded, and workers load the same. Raises SettingsError and WorkersError.
    """
    source = config.subject.model_copy(update={"dtype": dtype.partition(" ")[0]})
    if config.devices is not None:
        import torch  # here, as processes below: settings are checked before the first word is said

        from agent.pool.processes import DeviceProcesses

        return DeviceProcesses(source, _devices(config.devices), torch.get_num_threads())
    if config.ray is not None:
        from agent.pool.ray_actors import RayActors

        return RayActors(source, config.ray, config.gpus_per_worker)
    return None


def _devices(asked: str) -> list[str]:
    if asked != ALL:
        return _named(asked)
    import torch

    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if not devices:
        raise SettingsError("--devices all means all GPUs, and there is none here; name devices, as --devices cpu,cpu.")
    return devices


def _named(asked: str) -> list[str]:
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if not _DEVICE.fullmatch(name):
            raise SettingsError(
                f"Device {shown(name)} of --devices is not one; write {ALL}, or names as cuda:0,cuda:1 or cpu,cpu."
            )
    return names
