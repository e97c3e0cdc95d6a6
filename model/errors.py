# SPDX-License-Identifier: Apache-2.0
"""The one exception that users meet."""


class OneSpikeError(Exception):
    """A mistake that the user can mend: one clear sentence saying what, where and how.

    The command line prints the sentence alone and leaves with exit code 2.
    """
