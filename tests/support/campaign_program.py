# SPDX-License-Identifier: Apache-2.0
"""A program whose own functions are jobs, as `python -m onespike.sim.campaign` is."""

from onespike.model.system.campaign import Job, run


def square(number):
    return number * number


if __name__ == "__main__":
    print(run([Job(name=str(n), function=square, arguments=(n,)) for n in (3, 4, 5)], "local:2"))
