# SPDX-License-Identifier: Apache-2.0
"""The integer network and its meaning: its spec, its file, the codes of its values, the golden model, its operations.

Not here: where its numbers come from (`model/convert`), and any engine.
"""
