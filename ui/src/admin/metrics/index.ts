// What is loaded when somebody opens the dashboards or the alerts.

export { Alerts } from "./alerts";
export { Dashboards } from "./dashboards";
