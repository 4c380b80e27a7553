"""An optimizer's marks are there for a profiler, and for nobody else."""

from tests.processes.forked import output

PREAMBLE = """
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from rapidfire_cli.training import profiler
profiler.listen()
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.Adam(model.parameters())
model(torch.ones(1, 2)).sum().backward()
STEP = "Optimizer.step#Adam.step"
def marked(work):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        work()
    return [each.count for each in seen.key_averages() if each.key == STEP]
"""


def told(script: str) -> list[str]:
    """What the script prints, in a process of its own: marks are changed for all of it."""
    printed = output(PREAMBLE + script)
    return [line for line in printed.splitlines() if not line.startswith("USDT")]


def test_a_profiler_sees_every_step():
    assert told("print(marked(optimizer.step)); print(marked(optimizer.step))") == ["[1]", "[1]"]


def test_without_a_profiler_no_mark_is_made():
    script = """
def refuse(*_):
    raise AssertionError("a mark")
torch.ops.profiler._record_function_enter_new = refuse
optimizer.step()
optimizer.zero_grad()
print("none")
"""
    assert told(script) == ["none"]


def test_one_mark_may_be_made_again_and_again():
    script = """
mark = torch.autograd.profiler.record_function("mine")
def work():
    with mark: pass
with mark: pass
print(marked(work))
with mark: pass
print(mark.record)
"""
    assert told(script) == ["[]", "None"]


def test_hooks_are_called_as_ever():
    script = """
register_optimizer_step_post_hook(lambda *_: print("hooked"))
optimizer.step()
"""
    assert told(script) == ["hooked"]
