# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Tools that run here, against the running system (./dev up):

    pip install ./clients/python
    BORA_API_KEY=... python clients/python/examples/tools.py "What is 12 times the temperature in Oslo?"

The model is that of $BORA_MODEL (default "small"), the address that of $BORA_ADDRESS.
"""
import os
import sys
from typing import Annotated, Literal

import bora

tools = bora.Tools()


@tools.register
def weather(city: Annotated[str, {"minLength": 1, "maxLength": 40}]) -> dict:
    """The weather in a city, now.

    Args:
        city: its English name
    """
    return {"temperature_c": 5 + len(city) % 20, "sky": "cloudy"}  # made up, but always the same


@tools.register
def calculate(a: float, operation: Literal["add", "subtract", "multiply", "divide"], b: float) -> float:
    """One calculation with two numbers."""
    return {"add": a + b, "subtract": a - b, "multiply": a * b}[operation] if operation != "divide" else a / b  # a ZeroDivisionError goes to the model


def show_result(record: bora.CallRecord) -> None:
    print(f"[{record.call.name}({record.call.arguments}) {'failed:' if record.error else '->'} {record.result}]")


def main() -> int:
    question = sys.argv[1] if len(sys.argv) > 1 else "What is 12 times the temperature in Oslo?"
    try:
        with bora.Client(model=os.environ.get("BORA_MODEL", "small")) as client:
            run = client.run(question, tools, tool_choice="required",  # in the first round, that is
                             max_rounds=4, timeout=120, parallel=2, temperature=0, max_tokens=200,
                             on_text=lambda text: print(text, end="", flush=True), on_tool_result=show_result)
    except bora.BoraError as error:
        print(f"tools: {error}", file=sys.stderr)
        return 1
    print(f"\n({run.reason}: {run.rounds} rounds, {len(run.messages)} messages, {run.usage.total_tokens} tokens)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
