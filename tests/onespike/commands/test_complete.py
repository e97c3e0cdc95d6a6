# SPDX-License-Identifier: Apache-2.0
"""What a real shell completes with the script that `onespike complete` prints."""

import subprocess

import pytest

from command_line import fails
from onespike.cli import main
from onespike.parsers.complete import SHELLS

ASK = """
source ./script
complete -p onespike >/dev/null
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _shtab_onespike; echo "${COMPREPLY[*]}"; }
ask onespike comp
ask onespike report --js
ask onespike verilog digits.spike --front w
ask onespike eval dig
ask onespike report digits.spike --data im
"""


def test_bash_completes_commands_options_choices_and_files(capsys, tmp_path):
    assert main(["complete", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "digits.spike").write_text("")
    (tmp_path / "images").mkdir()
    found = subprocess.run(["bash", "-e", "-c", ASK], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == ["compare complete", "--json", "wishbone", "digits.spike", "images"]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_script_that_knows_all_commands(capsys, shell):
    assert main(["complete", shell]) == 0
    script = capsys.readouterr().out
    for word in ("simulate", "weight-bits", "onespike"):
        assert word in script


def test_a_shell_that_nobody_knows(capsys):
    fails(capsys, "Argument shell: invalid choice: 'dash' (choose from 'bash', 'zsh', 'fish', 'tcsh', 'powershell'); "
          "see `onespike complete --help`.", "complete", "dash")  # fmt: skip
