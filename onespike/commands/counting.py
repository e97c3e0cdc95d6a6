# SPDX-License-Identifier: Apache-2.0
"""Operations and energy as several commands print them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import figures
from ..model.cost import energy as energy_model
from ..model.cost import neurobench
from ..model.mapping.mapping import Mapping
from ..model.network.operations import count
from ..model.network.spec import INPUT


def counted(mapping: Mapping, codes: np.ndarray) -> dict[str, Any]:
    """Figures `operations` and `energy` on image codes."""
    operations = count(mapping.net, codes, image_code=mapping.tensors[INPUT].code, multiples=mapping.config.worths)
    estimated = energy_model.estimate(mapping, codes, operations)
    return {
        "operations": figures.operations(operations),
        "energy": figures.energy(estimated) | figures.defended(estimated, mapping.config),
    }


def neurobench_terms(mapping: Mapping, codes: np.ndarray) -> dict[str, Any]:
    """Figures `neurobench`."""
    return {"neurobench": neurobench.terms(mapping.net, codes).figures()}
