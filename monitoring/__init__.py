"""Dashboards, alerts and recording rules as data, and the page `/status`."""
