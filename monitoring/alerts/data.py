"""Alerts about state: background jobs, indexes, the database, disks and backups."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.rule import Alert, Group

_DAY_S = 86400
_VOLUME = '{namespace="headrace",persistentvolumeclaim="headrace-data"}'
_JOB = 'namespace="headrace",job_name="headrace-migrate-0a1b"'

GROUP = Group(
    "alerts-data",
    (
        Alert(
            name="IngestionStuck",
            expression='max by (kind) (headrace_job_oldest_seconds{kind=~"ingest_file|unindex_file"}) > 1800',
            wait="5m",
            severity="ticket",
            owner="applications",
            summary="The oldest {{ $labels.kind }} job has waited for {{ $value | humanizeDuration }}",
            dashboard="assistants",
            fires=alert_case("10m", ('headrace_job_oldest_seconds{kind="ingest_file"}', "1750+60x20")),
            silent=alert_case(
                "10m",
                ('headrace_job_oldest_seconds{kind="ingest_file"}', "1180+60x20"),
                ('headrace_job_oldest_seconds{kind="remember"}', "9000x20"),
            ),
        ),
        Alert(
            name="ErasureStuck",
            expression='max(headrace_job_oldest_seconds{kind=~"erase_user|purge_index|delete_blob"}) > 21600',
            wait="5m",
            severity="ticket",
            owner="security",
            summary="The oldest erasure job has waited for {{ $value | humanizeDuration }}",
            dashboard="overview",
            fires=alert_case("10m", ('headrace_job_oldest_seconds{kind="erase_user"}', "21550+60x20")),
            silent=alert_case("10m", ('headrace_job_oldest_seconds{kind="erase_user"}', "20900+60x20")),
        ),
        Alert(
            name="BatchBehind",
            expression="max(headrace_batch_oldest_seconds) > 64800",
            wait="5m",
            severity="ticket",
            owner="applications",
            summary="The oldest batch has not ended after {{ $value | humanizeDuration }}; it expires after a day",
            dashboard="overview",
            fires=alert_case("10m", ("headrace_batch_oldest_seconds", "64750+60x20")),
            silent=alert_case("10m", ("headrace_batch_oldest_seconds", "64100+60x20")),
        ),
        Alert(
            name="JobsPileUp",
            # Every gateway reports the same queue.
            expression="max by (kind) (headrace_jobs_waiting) > 200"
            " and max by (kind) (deriv(headrace_jobs_waiting[30m])) > 0",
            wait="15m",
            severity="ticket",
            owner="platform",
            summary="{{ $value }} {{ $labels.kind }} jobs are waiting, and the queue is growing",
            dashboard="overview",
            fires=alert_case("45m", ('headrace_jobs_waiting{kind="remember"}', "180+2x60")),
            silent=alert_case(
                "45m",
                ('headrace_jobs_waiting{kind="ingest_file"}', "900-10x60"),
                ('headrace_jobs_waiting{kind="remember",instance="a"}', "60+2x60"),
                ('headrace_jobs_waiting{kind="remember",instance="b"}', "60+2x60"),
            ),
        ),
        Alert(
            name="JobsFail",
            expression='sum by (kind) (increase(headrace_jobs_total{outcome="failed"}[1h]))'
            " / sum by (kind) (increase(headrace_jobs_total[1h])) > 0.2"
            ' and sum by (kind) (increase(headrace_jobs_total{outcome="failed"}[1h])) > 5',
            wait="5m",
            severity="ticket",
            owner="applications",
            summary="{{ $value | humanizePercentage }} of the {{ $labels.kind }} jobs fail",
            dashboard="assistants",
            fires=alert_case(
                "70m",
                ('headrace_jobs_total{kind="ingest_file",outcome="failed"}', "0+3x80"),
                ('headrace_jobs_total{kind="ingest_file",outcome="succeeded"}', "0+7x80"),
            ),
            silent=alert_case(
                "70m",
                ('headrace_jobs_total{kind="ingest_file",outcome="failed"}', "0+19x80"),
                ('headrace_jobs_total{kind="ingest_file",outcome="succeeded"}', "0+81x80"),
                ('headrace_jobs_total{kind="remember",outcome="failed"}', "0x20 3x60"),
                ('headrace_jobs_total{kind="remember",outcome="succeeded"}', "0x20 1x60"),
            ),
        ),
        Alert(
            name="IndexStale",
            # `make up` checks every collection: without another one that was checked since, nobody has run it.
            expression=f"max by (collection) (headrace_index_age_seconds) > {14 * _DAY_S}"
            f" and on() min(headrace_index_age_seconds) < {_DAY_S}",
            wait="1h",
            severity="info",
            owner="applications",
            summary="The index of {{ $labels.collection }} last matched its documents"
            " {{ $value | humanizeDuration }} ago",
            dashboard="assistants",
            fires=alert_case(
                "70m",
                ('headrace_index_age_seconds{collection="handbook"}', f"{14 * _DAY_S}+60x80"),
                ('headrace_index_age_seconds{collection="docs"}', "0+60x80"),
            ),
            silent=alert_case(
                "70m",
                ('headrace_index_age_seconds{collection="handbook"}', f"{14 * _DAY_S}+60x80"),
                ('headrace_index_age_seconds{collection="docs"}', f"{14 * _DAY_S}+60x80"),
            ),
        ),
        Alert(
            name="RetrievalSlow",
            expression="histogram_quantile(0.95,"
            " sum by (le, mode) (rate(headrace_retrieval_duration_seconds_bucket[10m]))) > 1",
            wait="10m",
            severity="ticket",
            owner="applications",
            summary="5% of searches take longer than {{ $value | humanizeDuration }}",
            dashboard="assistants",
            fires=alert_case(
                "30m",
                ('headrace_retrieval_duration_seconds_bucket{mode="hybrid",le="1.0"}', "0+94x40"),
                ('headrace_retrieval_duration_seconds_bucket{mode="hybrid",le="2.5"}', "0+100x40"),
                ('headrace_retrieval_duration_seconds_bucket{mode="hybrid",le="+Inf"}', "0+100x40"),
            ),
            silent=alert_case(
                "30m",
                ('headrace_retrieval_duration_seconds_bucket{mode="hybrid",le="1.0"}', "0+96x40"),
                ('headrace_retrieval_duration_seconds_bucket{mode="hybrid",le="2.5"}', "0+100x40"),
                ('headrace_retrieval_duration_seconds_bucket{mode="hybrid",le="+Inf"}', "0+100x40"),
            ),
        ),
        Alert(
            name="DatabaseSlow",
            expression="histogram_quantile(0.95,"
            " sum by (le, operation) (rate(headrace_database_duration_seconds_bucket[10m]))) > 0.25",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="5% of the database's {{ $labels.operation }}s take longer than {{ $value | humanizeDuration }}",
            dashboard="overview",
            fires=alert_case(
                "30m",
                ('headrace_database_duration_seconds_bucket{operation="write",le="0.25"}', "0+94x40"),
                ('headrace_database_duration_seconds_bucket{operation="write",le="0.5"}', "0+100x40"),
                ('headrace_database_duration_seconds_bucket{operation="write",le="+Inf"}', "0+100x40"),
            ),
            silent=alert_case(
                "30m",
                ('headrace_database_duration_seconds_bucket{operation="write",le="0.25"}', "0+96x40"),
                ('headrace_database_duration_seconds_bucket{operation="write",le="0.5"}', "0+100x40"),
                ('headrace_database_duration_seconds_bucket{operation="write",le="+Inf"}', "0+100x40"),
            ),
        ),
        Alert(
            name="DatabaseErrors",
            expression="sum(increase(headrace_database_errors_total[5m])) > 5",
            wait="2m",
            severity="page",
            owner="platform",
            summary="{{ $value | humanize }} transactions failed in 5 minutes: the database is unreachable or full",
            dashboard="overview",
            fires=alert_case("12m", ("headrace_database_errors_total", "0x5 0+4x20")),
            # A failover that takes a minute.
            silent=alert_case("12m", ("headrace_database_errors_total", "0x5 4x20")),
        ),
        Alert(
            name="DataDiskFilling",
            # A new stack writes its first files quickly, and then no more: only what has lasted for an hour, and goes
            # on, predicts a day.
            expression="min(headrace_disk_free_bytes / headrace_disk_size_bytes) < 0.25"
            " and min(predict_linear(headrace_disk_free_bytes[6h], 86400)) < 0"
            " and min(predict_linear(headrace_disk_free_bytes[1h], 86400)) < 0"
            " and min(headrace_disk_free_bytes offset 1h) > 0",
            wait="15m",
            severity="ticket",
            owner="platform",
            summary="The data folder's disk has {{ $value | humanizePercentage }} free and will be full within a day",
            dashboard="overview",
            fires=alert_case(
                "7h",
                ("headrace_disk_free_bytes", "30000-17x480"),
                ("headrace_disk_size_bytes", "100000x480"),
            ),
            silent=alert_case(
                "7h",
                ("headrace_disk_free_bytes", "30000-15x480"),
                ("headrace_disk_size_bytes", "100000x480"),
            ),
        ),
        Alert(
            name="DataDiskFull",
            expression="min(headrace_disk_free_bytes / headrace_disk_size_bytes) < 0.05",
            wait="5m",
            severity="page",
            owner="platform",
            summary="The data folder's disk has only {{ $value | humanizePercentage }} free space",
            dashboard="overview",
            fires=alert_case("10m", ("headrace_disk_free_bytes", "4900x20"), ("headrace_disk_size_bytes", "100000x20")),
            silent=alert_case(
                "10m", ("headrace_disk_free_bytes", "5100x20"), ("headrace_disk_size_bytes", "100000x20")
            ),
        ),
        Alert(
            name="VolumeFilling",
            expression="min by (namespace, persistentvolumeclaim) (kubelet_volume_stats_available_bytes"
            " / kubelet_volume_stats_capacity_bytes) < 0.1",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="The volume {{ $labels.persistentvolumeclaim }} has only {{ $value | humanizePercentage }} left",
            dashboard="ray",
            fires=alert_case(
                "15m",
                (f"kubelet_volume_stats_available_bytes{_VOLUME}", "9x20"),
                (f"kubelet_volume_stats_capacity_bytes{_VOLUME}", "100x20"),
            ),
            silent=alert_case(
                "15m",
                (f"kubelet_volume_stats_available_bytes{_VOLUME}", "9x8 11x20"),
                (f"kubelet_volume_stats_capacity_bytes{_VOLUME}", "100x30"),
            ),
        ),
        Alert(
            name="BackupTooOld",
            # 36 hours: a backup failed one night, and the next night's had time to run.
            expression="min(headrace_backup_age_seconds) > 129600",
            wait="10m",
            severity="ticket",
            owner="platform",
            summary="The newest backup is {{ $value | humanizeDuration }} old",
            dashboard="overview",
            fires=alert_case("15m", ("headrace_backup_age_seconds", "129600+60x20")),
            silent=alert_case("15m", ("headrace_backup_age_seconds", "128000+60x20")),
        ),
        Alert(
            name="StackJobFailed",
            # A pod that failed and is being retried has no reason yet.
            expression="max by (namespace, job_name)"
            ' (kube_job_status_failed{job_name=~".*-(backup|migrate|ingest)-.*",reason!=""}) > 0',
            wait="0m",
            severity="ticket",
            owner="platform",
            summary="The job {{ $labels.job_name }} failed",
            dashboard="overview",
            fires=alert_case("5m", (f'kube_job_status_failed{{{_JOB},reason="BackoffLimitExceeded"}}', "0x3 1x20")),
            silent=alert_case(
                "5m",
                (f'kube_job_status_failed{{{_JOB},reason=""}}', "1x20"),
                (f'kube_job_status_failed{{{_JOB},reason="BackoffLimitExceeded"}}', "0x20"),
            ),
        ),
    ),
)
