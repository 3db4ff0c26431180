"""Every operation of the evaluator against a formula written apart, in fp32 and fp16."""

from __future__ import annotations

import pytest

from export.mil.table import OPS
from mil_cases_elementwise import ELEMENTWISE
from mil_cases_linear import LINEAR
from mil_cases_quantisation import QUANTISATION
from mil_cases_shape import SHAPE
from mil_programs import check

CASES = [*LINEAR, *ELEMENTWISE, *SHAPE, *QUANTISATION]
PAIRS = [pytest.param(case, real, id=f"{case.title} {real}") for case in CASES for real in case.types]


@pytest.mark.parametrize(("case", "real"), PAIRS)
def test_an_operation_computes_what_mil_says(case, real):
    check(case, real)


def test_every_operation_has_a_case():
    assert {case.op for case in CASES} == set(OPS)
