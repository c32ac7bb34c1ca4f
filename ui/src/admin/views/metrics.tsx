// Dashboards and alerts, whose code is loaded when they are opened.

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "../../i18n";
import { c } from "../../i18n/console";
import { Failure } from "../loaded";

type Loaded = typeof import("../metrics");

let loaded: Loaded | null = null;

function useMetrics(shows: (metrics: Loaded) => VNode): VNode {
  const [metrics, setMetrics] = useState(loaded);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    if (loaded) return;
    import("../metrics").then(
      (found) => {
        loaded = found;
        setMetrics(found);
      },
      () => setFailed(true),
    );
  }, []);
  if (metrics) return shows(metrics);
  return failed ? <Failure error={t("offline")} reload={() => location.reload()} /> : <p role="status">{c("loading")}</p>;
}

export function DashboardsView(): VNode {
  return useMetrics(({ Dashboards }) => <Dashboards />);
}

export function AlertsView(): VNode {
  return useMetrics(({ Alerts }) => <Alerts />);
}
