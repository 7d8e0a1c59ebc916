"""A tokenizer's chat template, rendered in a process of its own, since a template is a program that came with a model.

transformers renders it in Jinja's sandbox, which keeps it from files and from this program's objects but not from
running for ever or taking all memory; the process is bounded in both. Run as a script, this file is that process.
"""

import json
import subprocess
import sys
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any

_CPU_S = 5
"""Of processor time for rendering; templates take milliseconds."""
_WALL_S = 60
"""In all, with what a busy machine takes to start a process."""
_MEMORY = 1024**3
"""Bytes that rendering may take."""
_MAX_TEXT = 1024**2
"""Characters that may come out."""


class TemplateFailedError(Exception):
    """Rendering failed, or took too long or too much; the message says how, without a full stop."""


@lru_cache(maxsize=64)
def rendered(request: str, cpu_s: int = _CPU_S, memory: int = _MEMORY) -> str:
    """The text that a template makes of a conversation; `request` is transformers' arguments in JSON.

    `cpu_s` and `memory` bound what rendering takes, in seconds and bytes. Raises TemplateFailedError.
    """
    command = [sys.executable, "-P", str(Path(__file__).resolve()), str(cpu_s), str(memory)]
    try:
        done = subprocess.run(command, input=request.encode(), capture_output=True, timeout=_WALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise TemplateFailedError(f"it ran for more than {_WALL_S} s") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise TemplateFailedError(f"it takes more than {cpu_s} s or {memory // 1024**2} MiB") from None
    if "fault" in answer:
        raise TemplateFailedError(answer["fault"])
    return str(answer["text"])


def _answer(arguments: dict[str, Any], cpu_s: int, memory: int) -> dict[str, str]:
    from transformers.utils.chat_template_utils import render_jinja_template

    _bound(cpu_s, memory)
    try:
        texts, _ = render_jinja_template(**arguments)
        texts[0].encode()  # half a character could be no token
    except MemoryError:
        return {"fault": f"it takes more than {memory // 1024**2} MiB"}
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return {"fault": said[:200]}
    if len(texts[0]) > _MAX_TEXT:
        return {"fault": f"it makes {len(texts[0]):,} characters of one line"}
    return {"text": texts[0]}


def _bound(cpu_s: int, memory: int) -> None:
    """Bounds this process, where the operating system can."""
    try:
        import resource
    except ImportError:  # Windows, where the clock alone is watched
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    until_s = ceil(used.ru_utime + used.ru_stime) + cpu_s  # the limit is in whole seconds
    resource.setrlimit(resource.RLIMIT_CPU, (until_s, until_s))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    json.dump(_answer(json.load(sys.stdin), int(sys.argv[1]), int(sys.argv[2])), sys.stdout)
