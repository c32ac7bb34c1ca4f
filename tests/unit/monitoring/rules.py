"""Groups as Prometheus's rules file, and the cases of their alerts as a test of promtool's."""

RUNBOOKS = "https://example.com/runbooks"
STEP = "30s"


def document(groups):
    return {"groups": [{"name": g.name, "interval": g.interval, "rules": [_rule(r) for r in g.rules]} for g in groups]}


def promtest(groups, file):
    """`file` is the rules file that is tested. An alert that fires is asked for by `ALERTS`, whatever its labels."""
    alerts = [rule for group in groups for rule in group.rules if hasattr(rule, "fires")]
    cases = [(alert, case, case is alert.fires) for alert in alerts for case in (alert.fires, alert.silent)]
    return {
        "rule_files": [file],
        "evaluation_interval": STEP,
        "tests": [_test(*case) for case in cases],
    }


def _rule(rule):
    if not hasattr(rule, "fires"):
        return {"record": rule.name, "expr": rule.expression, "labels": dict(rule.fixed)}
    return {
        "alert": rule.name,
        "expr": rule.expression,
        "for": rule.wait,
        "labels": {"severity": rule.severity, "owner": rule.owner, **rule.labels},
        "annotations": {
            "summary": rule.summary,
            "dashboard": rule.dashboard,
            "runbook_url": f"{RUNBOOKS}/{rule.name}.md",
        },
    }


def _test(alert, case, fires):
    return {
        "name": f"{alert.name} {'fires' if fires else 'is silent'}",
        "interval": STEP,
        "input_series": [{"series": sample.series, "values": sample.values} for sample in case.samples],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert.name}",alertstate="firing"}}) > bool 0',
                "eval_time": case.after,
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }
