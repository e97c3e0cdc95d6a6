# SPDX-License-Identifier: Apache-2.0
"""A network on an engine: layouts of tensors, the layer program, memory images, streamed weights.

Not here: how long it takes, or which mapping is best (`model/cost`).
"""
