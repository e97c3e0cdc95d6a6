# SPDX-License-Identifier: Apache-2.0
"""What we ask of the machines that we run on: files, locks, processes, threads, campaigns of jobs, reading what others
wrote with a bound.

Not here: anything that knows what is in a file.
"""
