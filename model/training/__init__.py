# SPDX-License-Identifier: Apache-2.0
"""Data sets, example networks, training and fine-tuning. Torch may be imported.

Not here: importing and converting a trained network (`model/frontend`, `model/convert`).
"""
