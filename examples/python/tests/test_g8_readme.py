"""The programs on the first screen of README.md do what it says."""

from __future__ import annotations

import re
from pathlib import Path

from programs import Program, address

README = Path(__file__).resolve().parents[3] / "README.md"


def test_G8_the_readme_programs_answer(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n# (\w+\.py)(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    assert [name for name, _ in blocks] == ["control.py", "client.py"]
    for name, text in blocks:
        (tmp_path / name).write_text(f"# {name}{text}", encoding="utf-8")
    with Program(str(tmp_path / "control.py")) as server:
        where = address(server)
        with Program(str(tmp_path / "client.py"), where) as client:
            assert client.rest() == ["edge-node-7 is running"]
            assert client.exit_code() == 0
            assert client.errors == ""
        server.interrupt()
        assert server.exit_code() == 0
        assert server.errors == ""
