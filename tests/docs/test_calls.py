"""The calls that the README shows work as they stand, pasted into a shell."""

import asyncio
import json
import re
from pathlib import Path

from local.stack import Stack

ROOT = Path(__file__).parents[2]


async def test_the_calls_of_the_readme_order_a_basket(stack: Stack) -> None:
    """Each answer is one of success, and the last but one is about the order."""
    (block,) = re.findall(r"```sh\n(shop=.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    script = block.replace("http://127.0.0.1:8080", stack.url).replace("curl ", "curl -sS -w '\\n' ")
    process = await asyncio.create_subprocess_exec("bash", "-ec", script, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    answers = [json.loads(line) for line in output.splitlines()]
    assert len(answers) == block.count("\ncurl ")
    assert all(answer["status"] for answer in answers), answers
    assert answers[-2]["message"] in ("ordered", "paid")
