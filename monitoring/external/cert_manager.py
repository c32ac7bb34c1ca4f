"""Metrics of cert-manager: `internal/collectors/certificate_collector.go`."""

from __future__ import annotations

from monitoring.external.program import program

CERTIFICATE = ("name", "namespace", "issuer_name", "issuer_kind", "issuer_group")

SERIES = program(
    "cert-manager",
    gauges={
        CERTIFICATE: (
            ("certmanager_certificate_expiration_timestamp_seconds", "When a certificate expires, in Unix time."),
            (
                "certmanager_certificate_renewal_timestamp_seconds",
                "When a certificate should be renewed, in Unix time.",
            ),
        ),
        (*CERTIFICATE, "condition"): (("certmanager_certificate_ready_status", "1 for the value of condition Ready."),),
    },
)
