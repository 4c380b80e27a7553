"""torch's compiler stays away until somebody compiles; then it is there, whole."""

from tests.processes.forked import output

PREAMBLE = """
import sys, torch
from rapidfire_cli.training.dynamo import defer
defer()
model = torch.nn.Linear(2, 1)
def loaded():
    return "torch._dynamo.symbolic_convert" in sys.modules
"""


def told(script: str) -> list[str]:
    """What the script prints, in a process where nothing was compiled before."""
    printed = output(PREAMBLE + script)
    return printed.split()


def test_no_optimizer_loads_the_compiler():
    script = """
for optimizer in (torch.optim.Adam(model.parameters()), torch.optim.SGD(model.parameters())):
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    scheduler.step()
    optimizer.load_state_dict(optimizer.state_dict())
print(loaded())
"""
    assert told(script) == ["False"]


def test_whoever_looks_through_all_modules_loads_nothing():
    assert told("import inspect; inspect.getmodule(told := lambda: 0); print(loaded())") == ["False"]


def test_whoever_compiles_gets_the_real_one():
    script = """
optimizer = torch.optim.SGD(model.parameters())
compiled = torch.compile(model, backend="eager")
print(torch.equal(compiled(torch.ones(1, 2)), model(torch.ones(1, 2))), loaded())
compiled(torch.ones(1, 2)).sum().backward()
optimizer.step()
print(sys.modules["torch._dynamo"] is torch._dynamo, hasattr(torch._dynamo, "optimize"))
"""
    assert told(script) == ["True", "True", "True", "True"]


def test_a_part_of_it_can_be_imported_by_name():
    assert told("import torch._dynamo.config as config; print(config.__name__)") == ["torch._dynamo.config"]
