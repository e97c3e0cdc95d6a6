# SPDX-License-Identifier: Apache-2.0
"""The statistics of a sweep: known probabilities, and what a table says."""

import itertools

import pytest

from onespike.fpga import sweep
from onespike.fpga.sweep import main, rank_sum, spread, table


def test_rank_sum_of_the_textbook():
    """scipy.stats.mannwhitneyu gives 1/9 for these, exact and two-sided."""
    assert rank_sum([19, 22, 16, 29, 24], [20, 11, 17, 12]) == pytest.approx(1 / 9)


@pytest.mark.parametrize("values", [[1, 2, 3, 4, 5, 6], [1, 1, 2, 2, 2, 3], [5, 5, 5, 5, 5, 5]])
def test_rank_sum_counts_all_orders(values):
    """Of all ways to choose two of six, those whose ranks lie at least as far from the mean."""
    ranks = [sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
             for value in values]  # fmt: skip
    sums = [ranks[i] + ranks[j] for i, j in itertools.combinations(range(6), 2)]
    for i, j in itertools.combinations(range(6), 2):
        rest = [value for at, value in enumerate(values) if at not in (i, j)]
        expected = sum(abs(total - 7) >= abs(ranks[i] + ranks[j] - 7) for total in sums) / len(sums)
        assert rank_sum([values[i], values[j]], rest) == pytest.approx(expected)


def test_rank_sum_of_separate_draws():
    assert rank_sum(range(20), range(100, 120)) == pytest.approx(2 / 137846528820)
    assert rank_sum([1.0, 2.0], [1.0, 2.0]) == 1


def test_spread():
    assert spread([3, 1, 2, 5, 4]) == (1, 2, 3, 4, 5) and spread([7.0]) == (7.0,) * 5


def test_table():
    lines = table({"as it is": [100.0, 110.0, 120.0], "other": [130.0, 140.0, 150.0]}).splitlines()
    assert lines[1].split()[-6:] == ["3", "100.0", "105.0", "110.0", "115.0", "120.0"]
    assert lines[2].split()[-6:] == ["130.0", "135.0", "140.0", "145.0", "150.0", "0.1000"]


def test_sweep_in_turns(monkeypatch, tmp_path, capsys):
    """Seeds in turn with the variants, so that a sweep that is cut off can be compared."""
    seen = []

    def place(part, directory, frequency, seed, options):
        seen.append((seed, options))
        return 100.0 + seed + 10 * len(options)

    monkeypatch.setattr(sweep, "place", place)
    monkeypatch.setattr(sweep, "netlist_of", lambda *arguments: tmp_path)
    command = ["--seeds", "2", "--only", "default", "timing weight 20", "--build", str(tmp_path)]
    assert main(command) == main(command) == 0  # the second time from what was kept
    assert [seed for seed, _ in seen] == [1, 1, 2, 2]
    assert "timing weight 20" in capsys.readouterr().out


def test_unknown_variant(capsys):
    assert main(["--only", "luck"]) == 1
    assert "error: Unknown variant 'luck'; choose among default, " in capsys.readouterr().err
