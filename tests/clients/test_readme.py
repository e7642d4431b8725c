# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the code in clients/python/README.md run?"""
import re

from conftest import ROOT
from scripted_gateway import KEY, calls, text


def blocks_of_readme():
    return re.findall(r"```python\n(.*?)```", (ROOT / "clients/python/README.md").read_text(), re.DOTALL)


def test_the_readme_runs_from_top_to_bottom(gateway, monkeypatch, capsys):
    server = gateway([text("Paris."), text("Once", " upon"), text("Paris."), text('{"capital": "Rome"}'), text('{"name": "Rome", "country": "Italy"}'), calls(("weather", {"city": "Oslo"})), text("It is", " 9 °C.")])
    monkeypatch.setenv("BORA_API_KEY", KEY)
    monkeypatch.setenv("BORA_ADDRESS", server.target)
    blocks = [block for block in blocks_of_readme() if "bora.Admin" not in block]  # which test_python_admin.py runs
    assert len(blocks) == 4
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["answer"].json() == {"capital": "Rome"} and names["run"].text == "It is 9 °C." and "Once upon" in capsys.readouterr().out
    assert names["city"] == names["City"]("Rome", "Italy")
    assert [m["role"] for m in server.messages(3)] == ["system", "user", "assistant", "user"]
