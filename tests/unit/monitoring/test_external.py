"""What is declared of other programs is what they print."""

import pytest

from monitoring.expression import TARGET
from monitoring.external import EXTERNAL
from monitoring.series import HISTOGRAM
from tests.unit.monitoring.samples_of import FILES, families

PRINTED = {
    sample.name: (family.type, set[str]().union(*(s.labels for s in family.samples if s.name == sample.name)))
    for file in FILES
    for family in families(file)
    for sample in family.samples
}

# Prometheus makes its own, for each target and alert.
OTHERS = [series for series in EXTERNAL.values() if series.source != "prometheus"]


@pytest.mark.parametrize("series", OTHERS, ids=lambda s: s.name)
def test_a_declared_series_is_printed(series):
    kind, labels = PRINTED[series.name]
    is_part = kind == "histogram" and series.name.endswith(HISTOGRAM)
    assert series.kind == ("counter" if is_part else kind)
    assert set(series.labels) | {*TARGET} == labels | {*TARGET}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_sample_has_help_and_type_for_each_metric(file):
    found = list(families(file))
    assert found
    assert not [f.name for f in found if f.type == "unknown" or not f.documentation or not f.samples]


def test_units_are_given_where_names_lack_them():
    assert EXTERNAL["DCGM_FI_DEV_GPU_UTIL"].unit == "percent"
    assert EXTERNAL["vllm:kv_cache_usage_perc"].unit == "ratio"
    assert EXTERNAL["ray_serve_deployment_processing_latency_ms_sum"].unit == "milliseconds"
    assert EXTERNAL["ray_serve_deployment_processing_latency_ms_count"].unit == "1"
