# SPDX-License-Identifier: Apache-2.0
"""From anybody's file or module to the float graph: PyTorch, ONNX, QONNX, TFLite. Torch may be imported.

Not here: anything that rounds a weight (`model/convert`) or trains one (`model/training`).
"""
